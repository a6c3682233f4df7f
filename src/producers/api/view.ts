import { z } from "zod";
import type { HistoryLine } from "../../core/history.ts";
import { noticeOf } from "../../core/notice.ts";
import { ResultFile, Sha256, type SignRequest, StoredDocument } from "../../core/request.ts";
import { PHASES } from "../../core/status.ts";

const Time = z.string().describe("ISO 8601, UTC, with milliseconds.");

/** One word for people. */
export const State = z.enum(PHASES);

export const DocumentView = z.object({
  name: z.string().describe("The file name it came with, for people."),
  sha256: Sha256.describe("Of the bytes that were handed in."),
  signed_sha256: Sha256.optional().describe("Of the signed PDF, once it is stored and verified."),
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
    request_pk: z.int().optional().describe("The provider's number for it."),
    videoid_link: z.string().optional().describe("Where the signer identifies himself or herself."),
    created_at: Time,
    updated_at: Time,
  })
  .meta({ id: "Request" });
export type RequestView = z.infer<typeof RequestView>;

export const Links = z.object({
  self: z.string(),
  history: z.string(),
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
const Pk = z.int().optional().catch(undefined);
const Link = z.string().optional().catch(undefined);
const Contract = ResultFile.optional().catch(undefined);

/** The signed file of each document, in the documents' order; undefined where there is none yet. */
export function signedFiles({ facts }: SignRequest): (ResultFile | undefined)[] {
  const signed = Signed.parse(facts["signed"]);
  return Documents.parse(facts["documents"]).map(({ id }) => signed.find((file) => file.id === id));
}

export function contractFile({ facts }: SignRequest): ResultFile | undefined {
  return Contract.parse(facts["contract"]);
}

export function toView(request: SignRequest): RequestView {
  const { id, workflow, stage, phase, reference, waiting, failure, facts } = request;
  const documents = Documents.parse(facts["documents"]);
  const signed = signedFiles(request);
  const requestPk = Pk.parse(facts["requestPk"]);
  const link = Link.parse(facts["videoidLink"]);
  const notice = noticeOf(request);
  return {
    id,
    workflow,
    stage,
    phase,
    state: phase,
    ...(reference !== undefined && { reference }),
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
    ...(requestPk !== undefined && { request_pk: requestPk }),
    ...(link !== undefined && { videoid_link: link }),
    created_at: toTime(request.createdMs),
    updated_at: toTime(request.updatedMs),
  };
}

/** The answer to a submission. It is the same whenever it is asked for again: every request is accepted as queued. */
export function toAccepted(id: string, documents: number): Accepted {
  const self = `/v1/requests/${id}`;
  return {
    id,
    state: "queued",
    links: {
      self,
      history: `${self}/history`,
      approve: `${self}/approve`,
      refuse: `${self}/refuse`,
      code: `${self}/code`,
      resend_code: `${self}/code/resend`,
      cancel: `${self}/cancel`,
      retry: `${self}/retry`,
      contract: `${self}/contract`,
      signed_documents: Array.from({ length: documents }, (_, i) => `${self}/documents/${i + 1}/signed`),
    },
  };
}

export function toHistory(lines: readonly HistoryLine[]): z.infer<typeof HistoryView> {
  return { items: lines.map(({ atMs, ...line }) => ({ at: toTime(atMs), ...line })) };
}

function toTime(ms: number): string {
  return new Date(ms).toISOString();
}
