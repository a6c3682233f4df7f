import { createWriteStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { startSimulator } from "../../src/simulator/index.ts";
import { unpacked } from "../helpers/unpacked.ts";
import { check } from "./checker.ts";
import type { DumpedKey, HandedIn } from "./evidence.ts";
import { type Fleet, startFleet } from "./fleet.ts";
import type { Wish } from "./hand-in.ts";
import type { Violation } from "./invariants.ts";
import type { Start } from "./protocol.ts";
import { freePort, startRedisServer } from "./redis-server.ts";

type Wanted = { name: string; parts: readonly Start["parts"][number][] } & Pick<
  Start,
  "naive" | "planPath" | "hitsPath" | "pointsPath"
>;

export const PREFIX = "{chaos}";
export const ENDS = ["done", "refused", "cancelled", "expired", "failed"];
const SECRETS = { billing: "canary-billing-7b1e", rao: "canary-rao-91ac", pin: "canary-pin-5d20" };
const API_KEY = "canary-api-key-3f9c2b7e";
const WEBHOOK_SECRET = "canary-webhook-secret-0c41d5";

export type Deployment = Awaited<ReturnType<typeof startDeployment>>;

/**
 * A provider, a Redis that keeps everything and a data folder, for processes of the program to run on; and in the end
 * what the checker says of all that. Times are short and keep their order: a call is given up before its outcome is
 * taken to be settled.
 */
export async function startDeployment({
  lockMs,
  settings: more = {},
  signer = "auto",
}: {
  lockMs: number;
  /** Whether signers identify on video as soon as they can. */
  signer?: "auto" | "off";
  /** In the place of those below. */
  settings?: Record<string, string>;
}) {
  const dir = mkdtempSync(join(tmpdir(), "signpipe-chaos-"));
  const at = (...names: string[]) => join(dir, ...names);
  for (const folder of [at("data", "inbox"), at("stage")]) mkdirSync(folder, { recursive: true });
  const redisServer = await startRedisServer(at("redis"));
  const simulator = await startSimulator({
    dataDir: at("simulator"),
    humans: { signer, signerDelayMs: 300 },
    webhooks: { timeoutMs: 2_000 },
  });
  const apiPort = await freePort();
  const api = { url: `http://127.0.0.1:${apiPort}`, key: API_KEY };
  simulator.set({ webhookUrl: `${api.url}/webhooks/oneshot/${WEBHOOK_SECRET}` });
  const redis = new Redis(redisServer.port, "127.0.0.1", { maxRetriesPerRequest: 1 });
  redis.on("error", () => {});
  const fleets: Fleet[] = [];
  const settings = {
    DATA_DIR: at("data"),
    REDIS_PREFIX: PREFIX,
    API_PORT: String(apiPort),
    API_KEYS: `chaos:${API_KEY}`,
    WEBHOOK_SECRET,
    ONESHOT_REGISTRATION_AUTHORITY: "1000",
    ONESHOT_PROFILE: "PFnubeQAFCiudadano",
    ONESHOT_BILLING_USERNAME: "billing",
    ONESHOT_BILLING_PASSWORD: SECRETS.billing,
    ONESHOT_RAO: "1400",
    ONESHOT_RAO_USERNAME: "1000001",
    ONESHOT_RAO_PASSWORD: SECRETS.rao,
    ONESHOT_RAO_PIN: SECRETS.pin,
    // Requests may ask to be approved without a RAO; those that ask for a person are decided by one.
    APPROVAL: "auto",
    INBOX_SETTLE_MS: "300",
    INBOX_SWEEP_MS: "1000",
    INBOX_FOLDER_SETTLE_MS: "500",
    LOCK_MS: String(lockMs),
    ONESHOT_TIMEOUT_MS: "3000",
    ONESHOT_SIGN_TIMEOUT_MS: "5000",
    SETTLE_MS: "4000",
    SIGN_SETTLE_MS: "6000",
    CREATE_GRACE_MS: "8000",
    RECONCILE_MS: "5000",
    SHUTDOWN_GRACE_MS: "10000",
    LOG_LEVEL: "debug",
    ...more,
  };

  return {
    dir,
    inbox: at("data", "inbox"),
    stageDir: at("stage"),
    redis,
    redisServer,
    simulator,
    api,
    settings,

    /** Starts processes of the program; each is started again when it ends. */
    async start(members: readonly Wanted[]): Promise<Fleet> {
      const fleet = await startFleet({
        dir: at("logs"),
        redisPort: redisServer.port,
        providerUrl: new URL(simulator.url),
        members: members.map(({ name, parts, ...more }) => ({ name, start: { parts: [...parts], settings, ...more } })),
      });
      fleets.push(fleet);
      await Promise.all(fleet.members.map((member) => member.ready()));
      return fleet;
    },

    /** What the checker finds, once all processes have ended. */
    async check(wishes: readonly Wish[]): Promise<Violation[]> {
      const write = (name: string, content: unknown) => {
        writeFileSync(at(name), JSON.stringify(content));
        return at(name);
      };
      const codes = simulator.outbox.map(({ code }) => code);
      await dumpRedis(redis, at("dump.jsonl"));
      return check({
        dataDir: at("data"),
        ledgerPath: at("simulator", "ledger.jsonl"),
        dumpPath: at("dump.jsonl"),
        handedInPath: write("handed-in.json", wishes.map(toHandedIn)),
        exitsPath: write(
          "exits.json",
          fleets.flatMap(({ exits }) => exits),
        ),
        canariesPath: write("canaries.json", canaries(wishes, codes)),
        searched: [...fleets.flatMap(({ logs }) => logs), ...redisServer.files()],
        redisPrefix: PREFIX,
      });
    },

    /** Ends all processes in an orderly way. How long each took, in milliseconds. */
    stop: async (): Promise<number[]> => (await Promise.all(fleets.map((fleet) => fleet.stop()))).flat(),

    async close(): Promise<void> {
      for (const fleet of fleets) await fleet.kill();
      redis.disconnect();
      await simulator.close();
      await redisServer.stop();
    },
    remove: () => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** As much of a record as can be seen without parsing it. */
export interface Rough {
  id: string;
  stage: string;
  phase: string;
  waitsFor: string;
}

export async function readRecords(redis: Redis): Promise<Rough[]> {
  const found: Rough[] = [];
  let cursor = "0";
  do {
    const [next, keys] = await redis.scan(cursor, "MATCH", `[{]chaos}:request:*`, "COUNT", 2_000);
    cursor = next;
    const values = keys.length === 0 ? [] : await redis.mget(keys);
    for (const [i, value] of values.entries()) {
      const [, stage = "", phase = ""] = (value ?? "").split("|", 3);
      const waitsFor = phase === "waiting" ? (/"waiting":\{"for":"([^"]*)"/.exec(value ?? "")?.[1] ?? "") : "";
      found.push({ id: keys[i]?.split(":").at(-1) ?? "", stage, phase, waitsFor });
    }
  } while (cursor !== "0");
  return found;
}

function toHandedIn({ name, way, copies, usable, documents, isApart, phoneSha256, approval }: Wish): HandedIn {
  return { name, way, copies, usable, documents, isApart, phoneSha256, approval };
}

function canaries(wishes: readonly Wish[], codes: readonly string[]): { what: string; word: string }[] {
  return [
    ...wishes.map(({ email }) => ({ what: "an e-mail address", word: email })),
    ...wishes.map(({ phone }) => ({ what: "a phone number", word: phone })),
    ...wishes
      .filter(({ authentication }) => authentication === "external")
      .map(({ name }) => ({ what: "an external authentication", word: `op-${name}` })),
    ...wishes.flatMap(({ identified }) =>
      (identified?.files ?? []).map(({ name }) => ({ what: "the name of a picture", word: name })),
    ),
    ...wishes.flatMap(({ identified, name }) =>
      identified ? [{ what: "the number of an identity document", word: `ID-${name}` }] : [],
    ),
    ...codes.map((code) => ({ what: "a code", word: code })),
    ...Object.entries(SECRETS).map(([name, word]) => ({ what: `the ${name} secret`, word })),
    { what: "the billing secret", word: Buffer.from(SECRETS.billing).toString("base64") },
  ];
}

export async function readDump(redis: Redis): Promise<Map<string, DumpedKey>> {
  const dump = new Map<string, DumpedKey>();
  let cursor = "0";
  do {
    const [next, keys] = await redis.scan(cursor, "MATCH", "*", "COUNT", 5_000);
    cursor = next;
    for (const key of keys) dump.set(key, await readKey(redis, key));
  } while (cursor !== "0");
  return dump;
}

async function readKey(redis: Redis, key: string): Promise<DumpedKey> {
  const type = await redis.type(key);
  switch (type) {
    case "string":
      return { type, value: unpacked(key, (await redis.get(key)) ?? "") };
    case "hash":
      return { type, value: await redis.hgetall(key) };
    case "list":
      return { type, value: await redis.lrange(key, 0, -1) };
    case "set":
      return { type, value: await redis.smembers(key) };
    case "zset": {
      const flat = await redis.zrange(key, "0", "-1", "WITHSCORES");
      const pairs: [string, number][] = [];
      for (let i = 0; i + 1 < flat.length; i += 2) pairs.push([flat[i] ?? "", Number(flat[i + 1])]);
      return { type, value: pairs };
    }
    default:
      return { type: "other", value: null };
  }
}

async function dumpRedis(redis: Redis, path: string): Promise<void> {
  const out = createWriteStream(path, { mode: 0o600 });
  for (const [key, value] of await readDump(redis)) out.write(`${JSON.stringify({ key, ...value })}\n`);
  await new Promise<void>((resolve) => out.end(resolve));
}
