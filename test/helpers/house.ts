import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PDFDocument } from "@cantoo/pdf-lib";
import { inject, onTestFinished, type TestContext } from "vitest";
import { type App, createApp, type Doubles } from "../../src/app.ts";
import { readSettings } from "../../src/config.ts";
import { type KeyRing, readKeys } from "../../src/keys.ts";
import { createLog } from "../../src/log.ts";
import { type Simulator, type SimulatorOptions, startSimulator } from "../../src/simulator/index.ts";

interface Sent {
  name: string;
  bytes: Uint8Array;
}

export interface House {
  app: App;
  simulator: Simulator;
  dataDir: string;
  keyRing: KeyRing;
  /** Address of the API. */
  api: string;
  redisUrl: string;
  oneshotUrl: string;
  /** All that was logged. */
  logged: () => string;
  call(method: string, path: string, body?: unknown): Promise<{ status: number; body: Record<string, unknown> }>;
  submit(more?: object, documents?: Sent[], enclosures?: Sent[]): Promise<string>;
  /** What a call gives that is no JSON. */
  download(path: string): Promise<{ status: number; type: string | null; bytes: Buffer }>;
  /** Waits until the request is there. When it gives up it tells the history, which is usually the answer. */
  reaches(id: string, stage: string, phase: string, withinMs?: number): Promise<void>;
  waits(id: string, what: string, withinMs?: number): Promise<void>;
  codeFor(id: string): Promise<string>;
  effects(effect: string): number;
  /** Has the test that the house belongs to do something at its end. */
  atEnd: AtEnd;
}

/** Of a test's context: tests that run beside others hand it on, since nobody else can tell whose house it is. */
export type AtEnd = TestContext["onTestFinished"];

export const SIGNER = { email: "ana.canary@example.com", mobile_phone_number: "+34699000111", given_name: "Canaria" };

/**
 * The whole thing as a deployment has it, with its own key prefix, data folder and simulator; closed with the test.
 * Times are short; everything else is as it is for users.
 */
export async function startHouse({
  simulator: simulatorOptions = {},
  settings: given = {},
  work = true,
  keep = true,
  oneshotUrl,
  redisUrl = inject("redisUrl"),
  dataDir: givenDir,
  doubles,
  atEnd = onTestFinished,
}: {
  simulator?: SimulatorOptions;
  settings?: Record<string, string>;
  /** Start the workers, too. */
  work?: boolean;
  /** Do the housekeeping, too, of which the feeding of batches is a part. */
  keep?: boolean;
  /** Another address for the provider, such as a proxy in front of the simulator. */
  oneshotUrl?: (simulator: Simulator) => string;
  redisUrl?: string;
  /** Where its data is; a folder that goes with the test, when not given. */
  dataDir?: string;
  /** What a test puts in the place of parts. */
  doubles?: Doubles;
  /** Needed in a test that runs beside others (`test.concurrent`): its context's `onTestFinished`. */
  atEnd?: AtEnd;
} = {}): Promise<House> {
  const dataDir = givenDir ?? (await mkdtemp(join(tmpdir(), "signpipe-test-")));
  const simulator = await startSimulator(simulatorOptions);
  const lines: string[] = [];
  const log = createLog("debug", { write: (line: string) => lines.push(line) > 0 } as unknown as NodeJS.WritableStream);
  const settings = readSettings(
    {
      DATA_DIR: dataDir,
      REDIS_PREFIX: `{test-${randomBytes(6).toString("hex")}}`,
      API_PORT: "0",
      ONESHOT_REGISTRATION_AUTHORITY: "1000",
      ONESHOT_PROFILE: "PFnubeQAFCiudadano",
      ONESHOT_BILLING_USERNAME: "canary-billing",
      ONESHOT_BILLING_PASSWORD: "canary-billing-password",
      ONESHOT_RAO: "1400",
      ONESHOT_RAO_USERNAME: "1000001",
      ONESHOT_RAO_PASSWORD: "canary-rao-password",
      ONESHOT_RAO_PIN: "canary-rao-pin",
      INBOX_SETTLE_MS: "200",
      INBOX_SWEEP_MS: "500",
      INBOX_FOLDER_SETTLE_MS: "300",
      SETTLE_MS: "300",
      LOCK_MS: "3000",
      SIGN_SETTLE_MS: "800",
      CREATE_GRACE_MS: "1500",
      ONESHOT_TIMEOUT_MS: "3000",
      ONESHOT_SIGN_TIMEOUT_MS: "5000",
      SHUTDOWN_GRACE_MS: "3000",
      ...given,
    },
    { envFile: join(dataDir, "none") },
  );
  const keyRing = readKeys(settings);
  const providerUrl = oneshotUrl?.(simulator) ?? simulator.url;
  const app = createApp({ settings, keyRing, redisUrl, oneshotUrl: providerUrl, log, ...(doubles && { doubles }) });
  await app.ready();
  if (keep) app.startKeeping();
  if (settings.INTAKE) app.startIntake();
  if (work) app.startWorkers();
  const api = await app.startApi();
  simulator.set({ webhookUrl: `${api}/webhooks/oneshot/${keyRing.webhookSecret}` });

  atEnd(async ({ task }) => {
    await app.close();
    await simulator.close();
    if (task.result?.state === "fail") return; // left for whoever looks into it
    await removeKeys(redisUrl, settings.REDIS_PREFIX);
    await rm(dataDir, { recursive: true, force: true });
  });

  const bearer = { authorization: `Bearer ${keyRing.apiKeys[0]?.secret ?? ""}` };

  async function call(method: string, path: string, body?: unknown) {
    const answer = await fetch(`${api}${path}`, {
      method,
      headers: { ...bearer, ...(body !== undefined && { "content-type": "application/json" }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, body: (text ? JSON.parse(text) : {}) as Record<string, unknown> };
  }

  async function until(id: string, wanted: string, withinMs: number, there: () => Promise<boolean>): Promise<void> {
    const late = Date.now() + withinMs;
    while (!(await there())) {
      if (Date.now() > late) {
        const at = await app.store.get(id);
        const lines = (await app.store.history(id)).map((line) => JSON.stringify(line)).join("\n");
        throw new Error(
          `${id} is at ${at.stage} ${at.phase} (${at.waiting?.for ?? at.failure?.code ?? ""}), not ${wanted}:\n${lines}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  return {
    app,
    simulator,
    dataDir,
    keyRing,
    api,
    redisUrl,
    oneshotUrl: providerUrl,
    logged: () => lines.join(""),
    call,
    async download(path) {
      const answer = await fetch(`${api}${path}`, { headers: bearer });
      const bytes = Buffer.from(await answer.arrayBuffer());
      return { status: answer.status, type: answer.headers.get("content-type"), bytes };
    },
    async submit(more = {}, documents, enclosures = []) {
      const form = new FormData();
      form.set("manifest", JSON.stringify({ signer: SIGNER, ...more }));
      for (const { name, bytes } of documents ?? [{ name: "lease.pdf", bytes: await samplePdf() }]) {
        form.append("file", new Blob([new Uint8Array(bytes)], { type: "application/pdf" }), name);
      }
      for (const { name, bytes } of enclosures) form.append("enclosure", new Blob([new Uint8Array(bytes)]), name);
      const answer = await fetch(`${api}/v1/requests`, { method: "POST", headers: bearer, body: form });
      const body = (await answer.json()) as { id?: string };
      if (answer.status !== 202 || !body.id)
        throw new Error(`submit answered ${answer.status}: ${JSON.stringify(body)}`);
      return body.id;
    },
    reaches: (id, stage, phase, withinMs = 20_000) =>
      until(id, `${stage} ${phase}`, withinMs, async () => {
        const at = await app.store.get(id);
        return at.stage === stage && at.phase === phase;
      }),
    waits: (id, what, withinMs = 20_000) =>
      until(id, `waiting for ${what}`, withinMs, async () => {
        const at = await app.store.get(id);
        return at.phase === "waiting" && at.waiting?.for === what;
      }),
    async codeFor(id) {
      const pk = (await app.store.get(id)).facts["requestPk"] as number;
      const code = simulator.codeOf(pk);
      if (!code) throw new Error(`no code was sent for ${id}`);
      return code;
    },
    atEnd,
    effects: (effect) => simulator.ledger.filter((entry) => entry.effect === effect).length,
  };
}

async function removeKeys(redisUrl: string, prefix: string): Promise<void> {
  const { Redis } = await import("ioredis");
  const redis = new Redis(redisUrl);
  for (;;) {
    const [, keys] = await redis.scan(0, "MATCH", `${prefix.replaceAll(/[{}]/g, "[$&]")}*`, "COUNT", 100_000);
    if (keys.length === 0) break;
    await redis.del(keys);
  }
  redis.disconnect();
}

let made = 0;

/** A small PDF that nobody has seen before. */
export async function samplePdf({ pages = 1, objectStreams = false } = {}): Promise<Uint8Array> {
  const pdf = await PDFDocument.create();
  for (let i = 0; i < pages; i++)
    pdf
      .addPage([400, 300])
      .drawText(`Sample ${++made} of ${process.pid}, ${randomBytes(8).toString("hex")}`, { x: 40, y: 200, size: 12 });
  return await pdf.save({ useObjectStreams: objectStreams });
}

export function readJson(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
}
