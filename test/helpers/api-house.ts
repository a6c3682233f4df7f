import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import type { FastifyInstance } from "fastify";
import { pino } from "pino";
import { onTestFinished } from "vitest";
import { PermanentError } from "../../src/core/errors.ts";
import { type RequestId, type SignRequest, toRequestId } from "../../src/core/request.ts";
import { createAppearances } from "../../src/files/appearances.ts";
import { createBatchFolders } from "../../src/files/batches.ts";
import { createDocuments } from "../../src/files/documents.ts";
import { createResults } from "../../src/files/results.ts";
import { toApiDocuments } from "../../src/producers/api/document-store.ts";
import type { Begun, Bound, Idempotency } from "../../src/producers/api/idempotency-types.ts";
import type { ApiParts } from "../../src/producers/api/ports.ts";
import { createApi } from "../../src/producers/api/server.ts";
import { createBatchDoor } from "../../src/producers/batch/door.ts";
import type { Feed } from "../../src/queues/feed.ts";
import type { Standstill } from "../../src/queues/lanes.ts";
import type { Pipeline, Submission } from "../../src/queues/pipeline-types.ts";
import { createRowSeals } from "../../src/queues/row-seals.ts";

export const KEY = { name: "crm", secret: "canary-key-2f7e9d31aa" };
export const WEBHOOK_SECRET = "canary-hook-77c1f0e2bd9914";
export const AUTHORIZED = { authorization: `Bearer ${KEY.secret}` };
export const PDF = Buffer.from("%PDF-1.7\n1 0 obj\n<<>>\nendobj\nstartxref\n0\n%%EOF\n");

export const MANIFEST = {
  workflow: "videoid",
  reference: "loan-1",
  signer: { email: "canary@example.com", mobile_phone_number: "+34699000111" },
  authentication: { method: "sms" },
};

/** A pipeline in memory: what was called is in `calls`, what is to fail next is put in `failures` by method. */
export function fakePipeline() {
  const records = new Map<RequestId, SignRequest>();
  const submissions: Submission[] = [];
  const calls: unknown[][] = [];
  const failures = new Map<string, unknown>();
  const standstills: Standstill[] = [];
  let clockMs = Date.UTC(2026, 0, 15, 8, 20);

  const called = (...call: unknown[]) => {
    calls.push(call);
    const failure = failures.get(String(call[0]));
    failures.delete(String(call[0]));
    if (failure !== undefined) throw failure as Error;
  };
  const get = async (id: RequestId) => {
    called("get", id);
    return must(id);
  };
  const must = (id: RequestId) => {
    const record = records.get(id);
    if (!record) throw new PermanentError(`There is no request ${id}`, { code: "no-such-request" });
    return record;
  };
  const act =
    (name: string) =>
    async (id: RequestId, ...more: unknown[]) => {
      // Without an Idempotency-Key there is no print of one.
      called(name, id, ...more.filter((one) => one !== undefined));
      return must(id);
    };

  const pipeline: Pipeline = {
    async mayTake() {
      called("mayTake");
      return 0;
    },
    async standstills() {
      called("standstills");
      return standstills;
    },
    async resume() {
      called("resume");
      return standstills.splice(0);
    },
    async submit(submission, { writes } = {}) {
      called("refuse to submit", submission.id);
      writes?.();
      called("submit", submission.id);
      submissions.push(submission);
      const known = records.get(submission.id);
      if (known) return { outcome: "known", request: known };
      const request = record({
        id: submission.id,
        facts: { documents: submission.documents },
        createdMs: clockMs,
        updatedMs: clockMs++,
        ...(submission.reference !== undefined && { reference: submission.reference }),
      });
      records.set(submission.id, request);
      return { outcome: "accepted", request };
    },
    bundle: (submission) => Promise.reject(new Error(`${submission.id}: only an inbox bundles`)),
    mustBeAllowed() {},
    async completeGroup(id) {
      called("completeGroup", id);
    },
    get,
    async find(id) {
      called("find", id);
      return records.get(id);
    },
    async list(options) {
      called("list", options);
      const fitting = [...records.values()].filter(
        ({ phase, reference }) =>
          (options.state ?? phase) === phase && (options.reference === undefined || options.reference === reference),
      );
      const from = Number(options.cursor ?? 0);
      const next = from + options.limit;
      return {
        items: fitting.slice(from, next),
        next_cursor: next < fitting.length ? String(next) : undefined,
      };
    },
    async history(id) {
      called("history", id);
      const { createdMs } = must(id);
      return [{ atMs: createdMs, event: "note", stage: "create", phase: "queued", by: "api:crm", note: "submitted" }];
    },
    remind: act("remind"),
    correct: act("correct"),
    restart: act("restart"),
    approve: act("approve"),
    refuse: act("refuse"),
    giveCode: act("giveCode"),
    resendCode: act("resendCode"),
    cancel: act("cancel"),
    retry: act("retry"),
    async nudge(...pk) {
      called("nudge", ...pk);
      return pk[0] === 4711;
    },
    isReplaced: () => Promise.resolve(false),
    signedBefore: ({ documents }) => Promise.resolve(documents.map(() => undefined)),
    takeChanged: async () => [],
    putBackChanged: async () => {},
    async counts() {
      called("counts");
      return {
        states: { waiting: 2, done: 5 },
        queues: { create: { waiting: 1, active: 0 } },
        overdue: 3,
        withoutNextStep: 0,
        uncleaned: 1,
        unreadable: 2,
      };
    },
  };
  return { pipeline, records, submissions, calls, failures, standstills };
}

/** A record as it is right after its submission, with what the test wants otherwise. */
export function record(given: Partial<SignRequest> = {}): SignRequest {
  return {
    id: freshId(),
    workflow: "videoid",
    source: "api",
    stage: "create",
    phase: "queued",
    attempt: 0,
    facts: {},
    createdMs: Date.UTC(2026, 0, 15, 8, 20, 1, 4),
    updatedMs: Date.UTC(2026, 0, 15, 8, 36, 33, 120),
    ...given,
  };
}

export function freshId(): RequestId {
  return toRequestId(randomBytes(16));
}

/** The memory of Idempotency-Keys, in one process. A claim lasts until it is given up. */
export function memoryIdempotency(): Idempotency & { bound: Map<string, Bound & { done: boolean }> } {
  const bound = new Map<string, Bound & { done: boolean }>();
  const claimed = new Map<string, symbol>();
  return {
    bound,
    printOf: (name, bodyHash) => `${name}.${bodyHash}`,
    async begin(name): Promise<Begun> {
      const known = bound.get(name);
      if (known?.done) return { state: "done", bound: known };
      if (claimed.has(name)) return { state: "busy" };
      const token = Symbol(name);
      claimed.set(name, token);
      const isOurs = () => claimed.get(name) === token;
      return {
        state: "yours",
        earlier: known,
        claim: {
          extend: async () => isOurs(),
          async bind(what) {
            if (isOurs()) bound.set(name, { ...what, done: false });
            return isOurs();
          },
          async finish(answer) {
            const what = bound.get(name);
            if (what) bound.set(name, { ...what, ...(answer !== undefined && { answer }), done: true });
          },
          async release() {
            if (isOurs()) claimed.delete(name);
          },
        },
      };
    },
  };
}

/** A feed in which nothing happens. */
export function memoryFeed(): Feed {
  return {
    follow: async () => () => {},
    since: async () => ({ entries: [], isWhole: true, next: undefined }),
    close() {},
  };
}

export interface ApiHouse extends ReturnType<typeof fakePipeline> {
  app: FastifyInstance;
  dir: string;
  idempotency: ReturnType<typeof memoryIdempotency>;
  /** Every log line so far, as text. */
  logged(): string;
  /** Names under `.work` and `signed`. */
  stored(): Promise<string[]>;
  /** Listens on a free port; its address. */
  listen(): Promise<string>;
}

/** Nothing was told to anybody. */
export const NOBODY_TOLD: Pick<ApiParts, "notifications" | "answers"> = {
  notifications: {
    list: async () => [],
    replay: () => Promise.reject(new PermanentError("There is none", { code: "no-such-notification" })),
    replayUndelivered: async () => 0,
    figures: async () => ({ waiting: 0, failed: 0, oldestMs: 0, deliveredEver: 0, failedEver: 0 }),
  },
  answers: { figures: async () => ({ waiting: 0, droppedEver: 0 }) },
};

/** An API over a pipeline in memory and a folder of its own, closed and removed with the test. */
export async function startApiHouse(parts: Partial<ApiParts> = {}): Promise<ApiHouse> {
  const dir = await mkdtemp(join(tmpdir(), "signpipe-api-"));
  const fake = fakePipeline();
  const idempotency = memoryIdempotency();
  const lines: string[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  await Promise.all([mkdir(join(dir, ".work")), mkdir(join(dir, "signed"))]);
  const appearances = createAppearances({ dir: join(dir, "appearance"), kept: join(dir, "images") });
  const app = createApi({
    pipeline: fake.pipeline,
    documents: toApiDocuments(createDocuments({ dir: join(dir, ".work") }), {
      maxBytes: 1024 ** 3,
      room: async () => {},
      appearances,
    }),
    batches: createBatchDoor({
      folders: createBatchFolders({ dir: join(dir, "batches") }),
      pipeline: fake.pipeline,
      appearances,
      seals: createRowSeals({ masterKey: Buffer.alloc(32, 7) }),
      digest: (text) => createHash("sha256").update(text).digest(),
      ...{ maxRows: 1_000, maxTableBytes: 1024 ** 2, maxDocumentBytes: 1024 ** 3, maxBytes: 1024 ** 3 },
    }),
    results: createResults({ dir: join(dir, "signed") }),
    shown: {
      enclosure: createDocuments({ dir: join(dir, ".work") }).openToShow,
      video: () => Promise.reject(new PermanentError("There is none", { code: "not-found" })),
    },
    idempotency,
    feed: memoryFeed(),
    keys: [{ name: "ops", secret: "canary-other-91f3" }, KEY],
    webhookSecret: WEBHOOK_SECRET,
    status: async () => ({ redis: { ok: true } }),
    ...NOBODY_TOLD,
    stages: [
      { name: "create", title: "Create the request" },
      { name: "sign", title: "Sign the documents" },
    ],
    log: pino({ level: "trace" }, sink),
    version: "1.2.3",
    ...parts,
  });
  onTestFinished(async () => {
    await app.close();
    await rm(dir, { recursive: true, force: true });
  });
  await app.ready();
  return {
    ...fake,
    app,
    dir,
    idempotency,
    logged: () => lines.join(""),
    stored: async () => (await readdir(join(dir, ".work"))).concat(await readdir(join(dir, "signed"))),
    listen: () => app.listen({ host: "127.0.0.1", port: 0 }),
  };
}

export interface Part {
  name: string;
  content: string | Buffer;
  filename?: string;
  type?: string;
}

/** A multipart body, written out by hand so that it can be wrong in every way. */
export function multipart(
  parts: Part[],
  boundary = "part-of-a-test",
): { body: Buffer; headers: { "content-type": string } } {
  const chunks: Buffer[] = [];
  for (const { name, content, filename, type } of parts) {
    const file = filename === undefined ? "" : `; filename="${filename}"`;
    const contentType = type === undefined ? "" : `\r\nContent-Type: ${type}`;
    chunks.push(
      Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"${file}${contentType}\r\n\r\n`),
    );
    chunks.push(Buffer.from(content), Buffer.from("\r\n"));
  }
  chunks.push(Buffer.from(`--${boundary}--\r\n`));
  return { body: Buffer.concat(chunks), headers: { "content-type": `multipart/form-data; boundary=${boundary}` } };
}

export function manifestPart(manifest: unknown = MANIFEST): Part {
  return { name: "manifest", content: JSON.stringify(manifest), type: "application/json" };
}

export function filePart(content: string | Buffer = PDF, filename = "agreement.pdf"): Part {
  return { name: "file", content, filename, type: "application/pdf" };
}

/** Submits `parts` without a network. */
export async function submit(app: FastifyInstance, parts: Part[], headers: Record<string, string> = {}) {
  const { body, headers: type } = multipart(parts);
  return await app.inject({
    method: "POST",
    url: "/v1/requests",
    headers: { ...AUTHORIZED, ...type, ...headers },
    payload: Readable.from([body]),
  });
}

/** What tests read of the API's answers. */
export interface Told {
  id: string;
  state: string;
  links: { self: string; signed_documents: string[] };
  status: number;
  code: string;
  detail: string;
  correlation_id: string;
  reasons: string[];
  items: { id: string }[];
  job: { data: unknown };
}

/** An answer's JSON, typed. */
export function told<T = Told>({ body }: { body: string }): T {
  return JSON.parse(body) as T;
}

/** Asks again until `isSo` says yes. Throws with the last value when it does not within `withinMs`. */
export async function until<T>(look: () => T | Promise<T>, isSo: (value: T) => boolean, withinMs = 3_000): Promise<T> {
  const deadlineMs = Date.now() + withinMs;
  for (;;) {
    const value = await look();
    if (isSo(value)) return value;
    if (Date.now() > deadlineMs) throw new Error(`still ${JSON.stringify(value)} after ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
