import { createHash } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { hasClaim, joinable } from "../../src/core/bundle.ts";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import { memberId } from "../../src/core/group.ts";
import type { RequestId, SignRequest } from "../../src/core/request.ts";
import { isEnd } from "../../src/core/status.ts";
import { createAppearances } from "../../src/files/appearances.ts";
import { createDocuments } from "../../src/files/documents.ts";
import type { InboxConfig, InboxParts } from "../../src/producers/inbox/config.ts";
import { createInbox } from "../../src/producers/inbox/inbox.ts";
import type { Bundling, Submission, Submitted } from "../../src/queues/pipeline-types.ts";

/** A small PDF that is whole; its text makes it different from others. */
export function makePdf(text: string, { encrypted = false } = {}): Buffer {
  const body = `%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [] /Count 0 >>\nendobj\n% ${text}\n`;
  const table = `xref\n0 3\n0000000000 65535 f \n0000000009 00000 n \n0000000058 00000 n \n`;
  const extra = encrypted ? " /Encrypt 9 0 R" : "";
  return Buffer.from(`${body}${table}trailer\n<< /Size 3 /Root 1 0 R${extra} >>\nstartxref\n${body.length}\n%%EOF\n`);
}

export const SIGNER = { email: "ana@example.com", mobile_phone_number: "+34699999999" };
export const MANIFEST = JSON.stringify({ signer: SIGNER });

export type FakePipeline = ReturnType<typeof createFakePipeline>;

/** Records in memory, with the pipeline's promises about ids and duplicates. */
export function createFakePipeline() {
  const records = new Map<RequestId, SignRequest>();
  const seen = new Map<string, RequestId>();
  const changed = new Set<RequestId>();
  const submissions: Submission[] = [];
  const signers = new Map<RequestId, string>();
  let away: (() => Error) | undefined;
  let isAway: () => boolean = () => true;
  let clockMs = Date.parse("2026-01-01T00:00:00Z");

  function reach(): void {
    if (away && isAway()) throw away();
  }

  async function submit(submission: Submission): Promise<Submitted> {
    reach();
    const known = records.get(submission.id);
    if (known) return { outcome: "known", request: known };
    const chunks = [submission.documents, ...(submission.rest ?? [])];
    const prints = chunks.flat().map((document) => printOf(document, submission));
    for (const print of prints) {
      const of = records.get(seen.get(print) ?? "");
      const isInTheWay = of && (of.phase === "done" || !isEnd(of.phase) || of.facts["signedMs"] !== undefined);
      if (isInTheWay && submission.refuseDuplicate) return { outcome: "duplicate", of };
      seen.set(print, submission.id);
    }
    submissions.push(submission);
    clockMs += 1_000;
    const made = chunks.map((documents, i): SignRequest => {
      const id = memberId(submission.id, i + 1);
      for (const document of documents) seen.set(printOf(document, submission), id);
      return {
        id,
        workflow: "videoid",
        source: "inbox",
        stage: "create",
        phase: "queued",
        attempt: 0,
        facts: {
          documents,
          ...(chunks.length > 1 && { group: { id: submission.id, n: i + 1, of: chunks.length } }),
          ...(submission.retryOf && i === 0 && { retryOf: submission.retryOf }),
        },
        createdMs: clockMs,
        updatedMs: clockMs,
      };
    });
    for (const request of made) {
      records.set(request.id, request);
      changed.add(request.id);
    }
    return { outcome: "accepted", request: made[0] as SignRequest };
  }

  /** As the pipeline's: onto the open request of the same signer, which takes documents until its code is out. */
  async function bundle(submission: Submission, { windowMs, most, joined, joining }: Bundling): Promise<Submitted> {
    reach();
    const before = joined === undefined ? undefined : records.get(joined);
    if (before && hasClaim(before, submission.id)) return { outcome: "known", request: before };
    const open = [...records.values()].findLast(
      (one) => signers.get(one.id) === submission.signer.email && joinable(one) !== "closed",
    );
    await joining(open?.id);
    reach();
    if (!open) {
      const submitted = await submit(submission);
      if (submitted.outcome !== "accepted") return submitted;
      signers.set(submission.id, submission.signer.email);
      const untilMs = clockMs + windowMs;
      const made = submitted.request;
      const request = { ...made, facts: { ...made.facts, bundle: { untilMs, most } } };
      records.set(request.id, request);
      return { outcome: "accepted", request };
    }
    const of = records.get(seen.get(printOf(submission.documents[0] ?? { sha256: "" }, submission)) ?? "");
    if (of && (of.phase === "done" || !isEnd(of.phase)) && submission.refuseDuplicate)
      return { outcome: "duplicate", of };
    for (const document of submission.documents) seen.set(printOf(document, submission), open.id);
    submissions.push(submission);
    const documents = [...(open.facts["documents"] as object[]), ...submission.documents];
    clockMs += 1_000;
    const request = { ...open, facts: { ...open.facts, documents }, updatedMs: clockMs };
    records.set(open.id, request);
    changed.add(open.id);
    return { outcome: "accepted", request };
  }

  function printOf({ sha256 }: { sha256: string }, { signer }: Pick<Submission, "signer">): string {
    return `${sha256} ${signer.email}`;
  }

  return {
    records,
    submissions,
    changed,
    submit,
    bundle,
    async find(id: RequestId) {
      reach();
      return records.get(id);
    },
    async signedBefore({ documents, signer }: Pick<Submission, "documents" | "signer">) {
      reach();
      const owners = documents.map((one) => records.get(seen.get(printOf(one, { signer })) ?? ""));
      return owners.map((owner) => (owner?.phase === "done" ? owner : undefined));
    },
    async isReplaced(id: RequestId) {
      reach();
      const { phase = "", facts = {} } = records.get(id) ?? {};
      const documents = (facts["documents"] ?? []) as { sha256: string }[];
      const isDone = ({ sha256 }: { sha256: string }) =>
        [...records.values()].some(
          (one) => one.phase === "done" && JSON.stringify(one.facts["documents"]).includes(sha256),
        );
      return ["failed", "expired"].includes(phase) && documents.every(isDone);
    },
    async takeChanged(_source: "inbox" | "api", limit: number) {
      reach();
      const ids = [...changed].slice(0, limit);
      for (const id of ids) changed.delete(id);
      return ids;
    },
    async putBackChanged(_source: "inbox" | "api", ids: RequestId[]) {
      reach();
      for (const id of ids) changed.add(id);
    },

    /** From now on nothing can be reached, or everything again. */
    goAway(error?: () => Error, when: () => boolean = () => true) {
      away = error;
      isAway = when;
    },
    move(id: RequestId, patch: Partial<SignRequest>) {
      const request = records.get(id);
      if (!request) throw new Error(`no request ${id}`);
      clockMs += 1_000;
      records.set(id, { ...request, ...patch, facts: { ...request.facts, ...patch.facts }, updatedMs: clockMs });
      changed.add(id);
    },
  };
}

export const redisAway = () => new RetryableError("Redis does not answer", { code: "redis-away" });
export const notAllowed = () =>
  new PermanentError('approval: "auto" is not allowed here', { code: "auto-approval-not-allowed" });

/** Files to drop, by name; a folder is an object of its own. */
export type Drop = { [name: string]: string | Buffer | Drop };

/** An inbox with a clock of its own, closed and removed with the test. */
export function startInboxHouse({
  config = {},
  pipeline = createFakePipeline(),
  parts = {},
}: { config?: InboxConfig; pipeline?: FakePipeline; parts?: Partial<InboxParts> } = {}) {
  const dataDir = mkdtempSync(join(tmpdir(), "signpipe-inbox-"));
  const logged: { level: string; fields: Record<string, unknown>; message: string }[] = [];
  let nowMs = Date.parse("2026-01-01T00:00:00Z");
  const say = (level: string) => (fields: object, message: string) =>
    void logged.push({ level, fields: fields as Record<string, unknown>, message });
  const log = { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") };

  function open(more: Partial<InboxParts> = {}) {
    return createInbox({
      dataDir,
      pipeline,
      documents: createDocuments({ dir: join(dataDir, ".work") }),
      appearances: createAppearances({ dir: join(dataDir, "appearance"), kept: join(dataDir, "images") }),
      config: {
        settleMs: 1_000,
        folderSettleMs: 3_000,
        sidecarWaitMs: 6_000,
        incompleteMs: 20_000,
        settleMaxMs: 60_000,
        watch: "poll",
        ...config,
      },
      log,
      now: () => nowMs,
      ...parts,
      ...more,
    });
  }
  let inbox = open();
  onTestFinished(async () => {
    await inbox.stop();
    await rm(dataDir, { recursive: true, force: true });
  });

  const at = (...names: string[]) => join(dataDir, ...names);
  async function put(folder: string, files: Drop): Promise<void> {
    await mkdir(folder, { recursive: true });
    for (const [name, content] of Object.entries(files)) {
      if (typeof content === "string" || Buffer.isBuffer(content)) await writeFile(join(folder, name), content);
      else await put(join(folder, name), content);
    }
  }

  return {
    dataDir,
    pipeline,
    logged,
    at,
    inbox: () => inbox,
    drop: (files: Drop) => put(at("inbox"), files),
    put: (where: string, files: Drop) => put(at(where), files),
    /** Sweeps, lets `ms` pass, sweeps again. */
    async pass(ms = 1_000, times = 1) {
      await inbox.sweepOnce();
      for (let n = 0; n < times; n++) {
        nowMs += ms;
        await inbox.sweepOnce();
      }
    },
    /** Drops, and waits as long as it takes to be claimed. */
    async take(files: Drop) {
      await put(at("inbox"), files);
      await this.pass(1_000, 8);
    },
    /** The process is gone, and another one takes its place. */
    async restart(more: Partial<InboxParts> = {}) {
      inbox = open(more);
      await inbox.sweepOnce();
    },
    reopen(more: Partial<InboxParts> = {}) {
      inbox = open(more);
    },
    /** Everything in a folder of DATA_DIR, as paths from there. */
    async tree(...names: string[]): Promise<string[]> {
      const entries = await readdir(at(...names), { recursive: true, withFileTypes: true });
      return entries
        .filter((entry) => !entry.isDirectory())
        .map((entry) => join(entry.parentPath, entry.name).slice(at(...names).length + 1))
        .sort();
    },
    read: (...names: string[]) => readFile(at(...names), "utf8"),
    async json(...names: string[]) {
      return JSON.parse(await readFile(at(...names), "utf8")) as Record<string, unknown>;
    },
    status(name: string) {
      return this.json("status", `${name}.status.json`);
    },
    only(): Submission {
      const [submission, ...more] = pipeline.submissions;
      if (!submission || more.length > 0) throw new Error(`${pipeline.submissions.length} submissions instead of one`);
      return submission;
    },
  };
}

export function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
