import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { FastifyInstance } from "fastify";
import { createApp } from "./app.ts";
import { createClock } from "./clock.ts";
import type { Context } from "./context.ts";
import { createFaults } from "./faults.ts";
import type { FaultInput } from "./faults.ts";
import { approve, createHumans, identify, validate } from "./humans.ts";
import { openLedger } from "./ledger.ts";
import type { Entry } from "./ledger.ts";
import { BASE_PATHS } from "./operations.ts";
import { freshOptimizer } from "./optimizer.ts";
import { changeSettings, givenOf, settingsFrom } from "./options.ts";
import type { Outcome, Settings, SimulatorOptions } from "./options.ts";
import { createOutbox } from "./outbox.ts";
import type { Message } from "./outbox.ts";
import { play } from "./scenarios.ts";
import { openAuthority } from "./signing/authority.ts";
import { scheduleAccepted } from "./signing/sign-call.ts";
import { noStateFile, openStateFile, tidy } from "./state-file.ts";
import type { StateFile } from "./state-file.ts";
import type { Status } from "./states.ts";
import { createStore } from "./store.ts";
import type { Person, Request } from "./store.ts";
import type { SettingsChange } from "./switches.ts";
import { createWebhooks } from "./webhooks.ts";

export type Simulator = {
  /** Address of the API, base path included. */
  url: string;
  /** The same of the first generation. */
  firstUrl: string;
  origin: string;
  port: number;
  dataDir: string;
  /** Every effect so far, oldest first. */
  ledger: readonly Entry[];
  /** Text messages with OTP codes, oldest first. */
  outbox: readonly Message[];
  /** Arrived API calls by operation. */
  calls: ReadonlyMap<string, number>;
  /** The simulator's CA certificate. */
  caPem: string;
  statusOf: (requestPk: number) => Status | undefined;
  /** The last code sent for a request. */
  codeOf: (requestPk: number) => string | undefined;
  /** Plays the signer. False when the request is not in a status for it. */
  identify: (requestPk: number, outcome: Outcome, person?: Person) => boolean;
  /** Approves as an operator of the provider would. False when the request is not in a status for it. */
  approve: (requestPk: number) => boolean;
  /** Validates, in 2-step mode, as an operator of the provider would. False when the request is not in a status for it. */
  validate: (requestPk: number) => boolean;
  fault: (fault: FaultInput) => void;
  clearFaults: () => void;
  set: (change: SettingsChange) => Settings;
  advanceClock: (ms: number) => void;
  close: () => Promise<void>;
};

function createContext(options: SimulatorOptions, dataDir: string, isKept: boolean, origin: () => string): Context {
  const documentsFolder = join(dataDir, "documents");
  const imagesFolder = join(dataDir, "images");
  const identityFolder = join(dataDir, "identity");
  for (const folder of [documentsFolder, imagesFolder, identityFolder]) mkdirSync(folder, { recursive: true });
  const settings = settingsFrom(options);
  const atStart = structuredClone(settings);
  const faults = createFaults();
  play(options.scenarios ?? [], settings, faults);
  // What somebody says beside a scenario is what they mean.
  changeSettings(settings, givenOf(options));
  const kept = isKept ? openStateFile(join(dataDir, "state.jsonl")) : noStateFile();
  const clock = createClock(kept.read("clock").get("")?.aheadMs);
  const ledger = openLedger(options.ledgerPath ?? join(dataDir, "ledger.jsonl"));
  const context: Context = {
    settings,
    atStart,
    optimizer: { ...freshOptimizer(), ...kept.read("optimizer").get("") },
    credentials: options.credentials ?? {},
    clock,
    store: createStore(ledger.lastRequestPk, secretOf(kept)),
    ledger,
    kept,
    outbox: createOutbox(kept.read("message").values()),
    faults,
    webhooks: createWebhooks(settings, clock),
    humans: createHumans(() => context),
    authority: openAuthority(dataDir),
    documentsFolder,
    imagesFolder,
    identityFolder,
    calls: new Map(),
    origin,
  };
  takeUp(context);
  addKnownTokens(context);
  return context;
}

/** What seals the links of signers, so that they outlive the run. */
function secretOf(kept: StateFile): Buffer {
  const known = kept.read("secret").get("") ?? randomBytes(16).toString("base64");
  kept.save("secret", "", known);
  return Buffer.from(known, "base64");
}

/** Goes on with what an earlier run has left. */
function takeUp(context: Context): void {
  const { store, kept } = context;
  for (const request of kept.read("request").values()) store.restore(request);
  for (const kind of ["token", "image", "metadata"] as const) {
    const values = kept.read(kind) as Map<string, never>;
    const into = { token: store.tokens, image: store.images, metadata: store.metadata }[kind];
    for (const [uid, value] of values) into.set(uid, value);
  }
  const uids = new Set([...store.requests.values()].flatMap(filesNamed).concat([...store.images.keys()]));
  for (const folder of [context.documentsFolder, context.imagesFolder, context.identityFolder])
    tidy(folder, (stem) => uids.has(stem));
  for (const request of store.requests.values()) {
    scheduleAccepted(context, request);
    context.humans.after(request);
  }
}

/** What the names of a request's files begin with. */
const filesNamed = ({ pk, documents, identityImages }: Request): string[] => [
  String(pk),
  `contract-${pk}`,
  ...documents.keys(),
  ...identityImages.map(({ uid }) => uid),
];

/** Tokens that are there from the start, as the hosted sandbox has one. @source docs/provider.md §Tokens */
function addKnownTokens({ credentials: { tokens = [], rao }, store }: Context): void {
  const { username, password, pin } = rao ?? { username: "1125824", password: "", pin: "" };
  for (const uid of tokens) store.tokens.set(uid, { username, password, pin, note: "Demo token" });
}

/**
 * Listens where it is told to. Told any port, it takes that of the run before when it can: the links that signers have
 * lead there.
 */
async function listen(app: FastifyInstance, { kept }: Context, options: SimulatorOptions): Promise<string> {
  const { port = 0, host = "127.0.0.1" } = options;
  const before = port === 0 ? kept.read("port").get("") : undefined;
  const again = before === undefined ? undefined : await app.listen({ port: before, host }).catch(() => undefined);
  const origin = again ?? (await app.listen({ port, host }));
  kept.save("port", "", Number(new URL(origin).port));
  return origin;
}

/**
 * Starts a local stand-in of the provider: both generations of its API, with real (but legally worthless) signatures,
 * a ledger of every effect, faults on demand, and pages on which people play their parts.
 */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const temporary = options.dataDir === undefined;
  const dataDir =
    options.dataDir === undefined ? mkdtempSync(join(tmpdir(), "oneshot-simulator-")) : resolve(options.dataDir);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  let origin = "";
  const context = createContext(options, dataDir, !temporary, () => options.publicOrigin ?? origin);
  const app = createApp(context, options.log);
  const close = async (): Promise<void> => {
    context.clock.close();
    await context.webhooks.close();
    await app.close();
    context.ledger.close();
    context.kept.close();
    if (temporary) rmSync(dataDir, { recursive: true, force: true });
  };
  try {
    origin = await listen(app, context, options);
  } catch (error) {
    await close();
    throw error;
  }
  const port = Number(new URL(origin).port || 80);
  const { store, ledger, outbox, calls, faults, settings } = context;

  return {
    url: `${origin}${BASE_PATHS.newest}`,
    firstUrl: `${origin}${BASE_PATHS.first}`,
    origin,
    port,
    dataDir,
    ledger: ledger.entries,
    outbox: outbox.messages,
    calls,
    caPem: context.authority.pem,
    statusOf: (pk) => store.requests.get(pk)?.status,
    codeOf: (pk) => outbox.messages.findLast((message) => message.request_pk === pk)?.code,
    identify(pk, outcome, person) {
      const request = store.requests.get(pk);
      return request !== undefined && identify(context, request, outcome, person) === "done";
    },
    approve(pk) {
      const request = store.requests.get(pk);
      return request !== undefined && approve(context, request) === "done";
    },
    validate(pk) {
      const request = store.requests.get(pk);
      return request !== undefined && validate(context, request) === "done";
    },
    fault: (fault) => faults.add(fault),
    clearFaults: () => faults.clear(),
    set: (change) => changeSettings(settings, change),
    advanceClock(ms) {
      context.clock.advance(ms);
      context.kept.save("clock", "", { aheadMs: context.clock.aheadMs() });
    },
    close,
  };
}
