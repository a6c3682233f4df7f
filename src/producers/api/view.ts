import { z } from "zod";
import { BatchPlace, batchOf } from "../../core/batch.ts";
import { Former, Order, Ordered, Reminded } from "../../core/correction.ts";
import type { HistoryLine } from "../../core/history.ts";
import { noticeOf } from "../../core/notice.ts";
import { Enclosure, ENCLOSURES } from "../../core/identity.ts";
import { bundleOf } from "../../core/bundle.ts";
import { GroupPlace, memberIds, splitDocuments } from "../../core/group.ts";
import { type RequestId, ResultFile, Sha256, type SignRequest, StoredDocument } from "../../core/request.ts";
import { isEnd, PHASES } from "../../core/status.ts";

const Time = z.string().describe("ISO 8601, UTC, with milliseconds.");

/** One word for people. */
export const State = z.enum(PHASES);

export const DocumentView = z.object({
  name: z.string().describe("The file name it came with, for people."),
  sha256: Sha256.describe("Of the bytes that were handed in."),
  signed_sha256: Sha256.optional().describe(
    "Of the signed PDF, or of the signature apart, once it is stored and verified.",
  ),
});

export const EnclosureView = z.object({
  name: z.enum(ENCLOSURES).describe("What it shows. What its file was called is not kept."),
  content_type: z.string(),
  size_bytes: z.int(),
});

const GroupView = z.object({
  id: z.string().describe("The id of the first of them."),
  n: z.int().describe("The nth."),
  of: z.int().describe("Of so many."),
});

/** A request as everybody with a key may see it: named fields only, no data about the signer. */
export const RequestView = z
  .object({
    id: z.string(),
    workflow: z.string(),
    stage: z.string().describe("The step it is at."),
    phase: State.describe("What is happening at that step."),
    state: State.describe("The same in one word for people."),
    reference: z.string().optional().describe("The caller's own id."),
    tenant: z.string().optional().describe("On whose account, when it is not the default one."),
    group: GroupView.optional().describe("Where it stands among the requests that were handed in together."),
    batch: BatchPlace.optional().describe("Which row of which batch it is."),
    bundle: z
      .object({
        is_open: z.boolean().describe("Whether further documents may still join it: until the code leaves."),
        waits_until: Time.describe("Nothing is uploaded before, unless it is full."),
        most: z.int().describe("Documents that it takes in all."),
      })
      .optional()
      .describe("For a request of an inbox that has files for the same signer become one request."),
    waiting: z
      .object({
        for: z.string(),
        since: Time,
        until: Time,
        detail: z.string().optional().describe("More about it, in one sentence or a word of the provider's."),
      })
      .optional()
      .describe("Whose turn it is, and until when, while the state is waiting."),
    failure: z
      .object({ code: z.string(), message: z.string() })
      .optional()
      .describe("Why it ended otherwise than done, or why its last attempt did not succeed."),
    notice: z
      .object({ code: z.string(), message: z.string() })
      .optional()
      .describe(
        "What the state does not say: that it was signed although it was to end otherwise, or that cleaning up after it was given up.",
      ),
    documents: z.array(DocumentView),
    enclosures: z
      .array(EnclosureView)
      .optional()
      .describe("The files with which it was shown who the signer is. They are erased with the end of the request."),
    request_pk: z.int().optional().describe("The provider's number for it."),
    former_request_pks: z
      .array(z.int())
      .optional()
      .describe("The provider's numbers for it before it was begun anew, oldest first; cancelled there."),
    videoid_link: z.string().optional().describe("Where the signer identifies himself or herself."),
    reminders: z
      .object({ count: z.int(), last_at: Time })
      .optional()
      .describe("How often somebody asked to remind the signer of the identification."),
    order: z
      .object({
        kind: z.enum(["correction", "restart"]),
        outcome: z.enum(["pending", "taken", "refused"]),
        code: z.string().optional().describe("Why it was refused."),
        fields: z.array(z.string()).optional().describe("What was to be corrected."),
        at: Time,
      })
      .optional()
      .describe("The last correction or new beginning that was asked for, and what came of it."),
    created_at: Time,
    updated_at: Time,
  })
  .meta({ id: "Request" });
export type RequestView = z.infer<typeof RequestView>;

export const Links = z.object({
  self: z.string(),
  history: z.string(),
  remind: z.string(),
  correct: z.string(),
  restart: z.string(),
  approve: z.string(),
  refuse: z.string(),
  code: z.string(),
  resend_code: z.string(),
  cancel: z.string(),
  retry: z.string(),
  contract: z.string(),
  signed_documents: z.array(z.string()).describe("One for each document, in the order they were sent."),
});

export const Accepted = z
  .object({
    id: z.string(),
    state: State.describe("The state in which it was accepted."),
    links: Links,
    group: z
      .object({ id: z.string(), requests: z.array(z.string()).describe("All of its requests, the first one first.") })
      .optional()
      .describe("When there were more documents than one request takes; id and links are those of the first."),
  })
  .meta({ id: "Accepted" });
export type Accepted = z.infer<typeof Accepted>;

export const RequestList = z
  .object({
    items: z.array(RequestView).describe("Newest first."),
    next_cursor: z.string().nullable().describe("Give it as cursor for the next page; null on the last one."),
  })
  .meta({ id: "RequestList" });

export const HistoryView = z
  .object({
    items: z.array(
      z.object({
        at: Time,
        event: z.string(),
        stage: z.string(),
        phase: z.string(),
        by: z
          .string()
          .optional()
          .describe("Who caused it, when it was somebody outside: api:<key name>, webhook, inbox."),
        note: z.string().optional(),
      }),
    ),
  })
  .meta({ id: "History" });

/** What the view reads of the facts. Anything that is missing or of another form is left out, never an error. */
const Documents = z.array(StoredDocument).catch([]);
const Signed = z.array(ResultFile.extend({ id: z.string() })).catch([]);
const Enclosures = z.array(Enclosure).catch([]);
const Pk = z.int().optional().catch(undefined);
const Link = z.string().optional().catch(undefined);
const Group = GroupPlace.optional().catch(undefined);
const Tenant = z.string().optional().catch(undefined);
const Contract = ResultFile.optional().catch(undefined);
const Reminders = Reminded.optional().catch(undefined);
const Pending = Order.optional().catch(undefined);
const Settled = Ordered.optional().catch(undefined);
const Formers = z.array(Former).catch([]);

/** The signed file of each document, in the documents' order; undefined where there is none yet. */
export function signedFiles({ facts }: SignRequest): (ResultFile | undefined)[] {
  const signed = Signed.parse(facts["signed"]);
  return Documents.parse(facts["documents"]).map(({ id }) => signed.find((file) => file.id === id));
}

export function contractFile({ facts }: SignRequest): ResultFile | undefined {
  return Contract.parse(facts["contract"]);
}

/** The files that were handed in to show who the signer is. */
export function enclosuresOf({ facts }: SignRequest): Enclosure[] {
  return Enclosures.parse(facts["enclosures"]);
}

/** What was asked for last: what still stands in the record, else what came of the one before. */
function toOrder({ phase, facts }: SignRequest): RequestView["order"] {
  const pending = isEnd(phase) ? undefined : Pending.parse(facts["order"]);
  if (pending) {
    const { kind, atMs } = pending;
    return { kind, outcome: "pending", ...("fields" in pending && { fields: pending.fields }), at: toTime(atMs) };
  }
  const settled = Settled.parse(facts["ordered"]);
  if (!settled) return undefined;
  const { kind, outcome, code, fields, atMs } = settled;
  return { kind, outcome, ...(code && { code }), ...(fields && { fields }), at: toTime(atMs) };
}

export function toView(request: SignRequest): RequestView {
  const { id, workflow, stage, phase, reference, waiting, failure, facts } = request;
  const documents = Documents.parse(facts["documents"]);
  const signed = signedFiles(request);
  const requestPk = Pk.parse(facts["requestPk"]);
  const link = Link.parse(facts["videoidLink"]);
  const notice = noticeOf(request);
  const enclosures = enclosuresOf(request);
  const former = Formers.parse(facts["former"]);
  const reminded = Reminders.parse(facts["reminded"]);
  const order = toOrder(request);
  const tenant = Tenant.parse(facts["tenant"]);
  const group = Group.parse(facts["group"]);
  const batch = batchOf(request);
  const bundle = bundleOf(request);
  return {
    id,
    workflow,
    stage,
    phase,
    state: phase,
    ...(reference !== undefined && { reference }),
    ...(tenant !== undefined && { tenant }),
    ...(group && { group }),
    ...(batch && { batch }),
    ...(bundle && { bundle: { is_open: bundle.isOpen, waits_until: toTime(bundle.untilMs), most: bundle.most } }),
    ...(waiting && {
      waiting: {
        for: waiting.for,
        since: toTime(waiting.sinceMs),
        until: toTime(waiting.untilMs),
        ...(waiting.detail !== undefined && { detail: waiting.detail }),
      },
    }),
    ...(failure && { failure: { code: failure.code, message: failure.message } }),
    ...(notice && { notice }),
    documents: documents.map(({ name, sha256 }, i) => {
      const file = signed[i];
      return { name, sha256, ...(file && { signed_sha256: file.sha256 }) };
    }),
    ...(enclosures.length > 0 && {
      enclosures: enclosures.map(({ name, contentType, sizeBytes }) => ({
        name,
        content_type: contentType,
        size_bytes: sizeBytes,
      })),
    }),
    ...(requestPk !== undefined && { request_pk: requestPk }),
    ...(former.length > 0 && { former_request_pks: former.map((one) => one.requestPk) }),
    ...(link !== undefined && { videoid_link: link }),
    ...(reminded && { reminders: { count: reminded.count, last_at: toTime(reminded.atMs) } }),
    ...(order && { order }),
    created_at: toTime(request.createdMs),
    updated_at: toTime(request.updatedMs),
  };
}

/** The answer to a submission. It is the same whenever it is asked for again: every request is accepted as queued. */
export function toAccepted(id: RequestId, documents: number): Accepted {
  const split = splitDocuments(Array.from({ length: documents }, (_, i) => i));
  const self = `/v1/requests/${id}`;
  return {
    id,
    state: "queued",
    links: {
      self,
      history: `${self}/history`,
      remind: `${self}/remind`,
      correct: `${self}/correct`,
      restart: `${self}/restart`,
      approve: `${self}/approve`,
      refuse: `${self}/refuse`,
      code: `${self}/code`,
      resend_code: `${self}/code/resend`,
      cancel: `${self}/cancel`,
      retry: `${self}/retry`,
      contract: `${self}/contract`,
      signed_documents: (split[0] ?? []).map((_, i) => `${self}/documents/${i + 1}/signed`),
    },
    ...(split.length > 1 && { group: { id, requests: memberIds({ id, of: split.length }) } }),
  };
}

export function toHistory(lines: readonly HistoryLine[]): z.infer<typeof HistoryView> {
  return { items: lines.map(({ atMs, ...line }) => ({ at: toTime(atMs), ...line })) };
}

function toTime(ms: number): string {
  return new Date(ms).toISOString();
}
