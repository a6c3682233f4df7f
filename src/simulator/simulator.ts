import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import multipart from "@fastify/multipart";
import fastify from "fastify";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { createClock } from "./clock.ts";
import type { Context } from "./context.ts";
import { changeSettings, controlRoutes } from "./control.ts";
import type { SettingsChange } from "./control.ts";
import { errorAnswer, InvalidJson } from "./envelopes.ts";
import { createFaults } from "./faults.ts";
import type { FaultInput } from "./faults.ts";
import { installFaults } from "./faulty.ts";
import { approve, createHumans, identify } from "./humans.ts";
import { openLedger } from "./ledger.ts";
import type { Entry } from "./ledger.ts";
import { settingsFrom } from "./options.ts";
import type { Outcome, Settings, SimulatorOptions } from "./options.ts";
import { createOutbox } from "./outbox.ts";
import type { Message } from "./outbox.ts";
import { pageRoutes } from "./pages/routes.ts";
import { contractRoutes } from "./routes/contract.ts";
import { documentRoutes } from "./routes/document.ts";
import { imageRoutes } from "./routes/image.ts";
import { otpRoutes } from "./routes/otp.ts";
import { requestRoutes } from "./routes/request.ts";
import { signRoutes } from "./routes/sign.ts";
import { tokenRoutes } from "./routes/token.ts";
import { videoidRoutes } from "./routes/videoid.ts";
import { openAuthority } from "./signing/authority.ts";
import type { Status } from "./states.ts";
import { createStore } from "./store.ts";
import type { Person } from "./store.ts";
import { createWebhooks } from "./webhooks.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The provider's operation that a route serves; absent on the simulator's own routes. */
    operation?: string;
  }
}

/** Path under which the provider's API is served. @source docs/provider.md §Base path */
export const BASE_PATH = "/oneshot/api/v1";

const ROUTES = [
  videoidRoutes,
  requestRoutes,
  documentRoutes,
  contractRoutes,
  otpRoutes,
  signRoutes,
  tokenRoutes,
  imageRoutes,
];

export type Simulator = {
  /** Address of the API, base path included. */
  url: string;
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
  fault: (fault: FaultInput) => void;
  clearFaults: () => void;
  set: (change: SettingsChange) => Settings;
  advanceClock: (ms: number) => void;
  close: () => Promise<void>;
};

function createContext(options: SimulatorOptions, dataDir: string, origin: () => string): Context {
  const documentsFolder = join(dataDir, "documents");
  const imagesFolder = join(dataDir, "images");
  for (const folder of [documentsFolder, imagesFolder]) mkdirSync(folder, { recursive: true });
  const settings = settingsFrom(options);
  const clock = createClock();
  const ledger = openLedger(options.ledgerPath ?? join(dataDir, "ledger.jsonl"));
  const context: Context = {
    settings,
    credentials: options.credentials ?? {},
    clock,
    store: createStore(ledger.lastRequestPk),
    ledger,
    outbox: createOutbox(),
    faults: createFaults(),
    webhooks: createWebhooks(settings, clock),
    humans: createHumans(() => context),
    authority: openAuthority(dataDir),
    documentsFolder,
    imagesFolder,
    calls: new Map(),
    origin,
  };
  return context;
}

function acceptBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(/^application\/([\w.-]+\+)?json/, { parseAs: "string" }, (_call, body, done) => {
    if (body === "") return done(null, undefined);
    try {
      done(null, JSON.parse(body as string));
    } catch (error) {
      done(
        new InvalidJson(
          `Could not parse JSON body - ${error instanceof Error ? error.message.replace(/".*"/s, "text") : ""}`,
        ),
      );
    }
  });
  // Any other type is read to its end and counts as no body; the route then misses its fields.
  app.addContentTypeParser("*", (_call, payload, done) => {
    payload
      .resume()
      .on("end", () => done(null, undefined))
      .on("error", done);
  });
}

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;

/** The provider's routes; a known path with another method is 405, as the framework of the real server words it. */
function serveApi(api: FastifyInstance, context: Context): void {
  const known = new Map<string, Set<string>>();
  api.addHook("onRoute", ({ url, method }) => {
    const methods = known.get(url) ?? new Set<string>();
    for (const one of [method].flat()) methods.add(one);
    known.set(url, methods);
  });
  for (const routes of ROUTES) routes(api, context);
  for (const [url, methods] of [...known]) {
    const allow = METHODS.filter((method) => methods.has(method)).join(", ");
    api.route({
      url: url.slice(BASE_PATH.length),
      method: METHODS.filter((method) => !methods.has(method)),
      handler: (_call, reply) => reply.code(405).header("allow", allow).send({ detail: "Method Not Allowed" }),
    });
  }
}

function createApp(context: Context, log: SimulatorOptions["log"]): FastifyInstance {
  const app = fastify({
    logger: false,
    forceCloseConnections: true,
    bodyLimit: 4 << 20,
    routerOptions: { ignoreTrailingSlash: true },
  });
  acceptBodies(app);
  app.register(multipart, {
    limits: { fileSize: Number.MAX_SAFE_INTEGER, files: 1000, parts: 2000, fieldSize: 1 << 20 },
  });
  installFaults(app, context, BASE_PATH);
  app.setErrorHandler((error, _call, reply) => {
    if (error instanceof z.ZodError) return reply.code(400).send({ error: z.prettifyError(error) });
    const { http, body } = errorAnswer(error, context.settings);
    return reply.code(http).type("application/json").send(body);
  });
  app.setNotFoundHandler((_call, reply) => reply.code(404).send({ detail: "Not Found" }));
  if (log) {
    app.addHook("onResponse", (call, reply, done) => {
      const { operation } = call.routeOptions.config;
      if (operation !== undefined)
        log({ operation, status: reply.statusCode, ms: Math.round(reply.elapsedTime * 10) / 10 });
      done();
    });
  }
  app.register(
    (api, _options, done) => {
      serveApi(api, context);
      done();
    },
    { prefix: BASE_PATH },
  );
  controlRoutes(app, context);
  app.register((pages, _options, done) => {
    pageRoutes(pages, context);
    done();
  });
  return app;
}

/**
 * Starts a local stand-in of the provider: the eIDAS VideoID calls, with real (but legally worthless) signatures,
 * a ledger of every effect, faults on demand, and pages on which people play their parts.
 */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const temporary = options.dataDir === undefined;
  const dataDir =
    options.dataDir === undefined ? mkdtempSync(join(tmpdir(), "oneshot-simulator-")) : resolve(options.dataDir);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  let origin = "";
  const context = createContext(options, dataDir, () => options.publicOrigin ?? origin);
  const app = createApp(context, options.log);
  const close = async (): Promise<void> => {
    context.humans.close();
    await context.webhooks.close();
    await app.close();
    context.ledger.close();
    if (temporary) rmSync(dataDir, { recursive: true, force: true });
  };
  try {
    origin = await app.listen({ port: options.port ?? 0, host: options.host ?? "127.0.0.1" });
  } catch (error) {
    await close();
    throw error;
  }
  const port = Number(new URL(origin).port || 80);
  const { store, ledger, outbox, calls, faults, settings } = context;

  return {
    url: `${origin}${BASE_PATH}`,
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
    fault: (fault) => faults.add(fault),
    clearFaults: () => faults.clear(),
    set: (change) => changeSettings(settings, change),
    advanceClock: (ms) => context.clock.advance(ms),
    close,
  };
}
