import Fastify, { type FastifyInstance, LogController } from "fastify";
import { serializerCompiler, validatorCompiler } from "fastify-type-provider-zod";
import { readBearer } from "./api-keys.ts";
import { addBatches } from "./batches.ts";
import { addBoard } from "./board.ts";
import { addDownloads } from "./downloads.ts";
import { addShown } from "./shown.ts";
import { addErrors, sendProblem } from "./errors.ts";
import { addEvents } from "./events.ts";
import { addAcceptable, addGuards } from "./guards.ts";
import { addHealth, addMetrics } from "./health.ts";
import { createHints } from "./hints.ts";
import { addLanes } from "./lanes.ts";
import { createMetrics } from "./metrics.ts";
import { addNotifications } from "./notifications.ts";
import { addOpenApi } from "./openapi.ts";
import { addPages } from "./pages.ts";
import { type ApiParts, DEFAULT_LIMITS, type Server } from "./ports.ts";
import { ApiError } from "./problem.ts";
import { createRates } from "./rates.ts";
import { createRemote } from "./remote.ts";
import { addReading } from "./reading.ts";
import { addActing } from "./requests.ts";
import { createStreams } from "./streams.ts";
import { addSubmit } from "./submit.ts";
import { addTenancy } from "./tenancy.ts";
import { answerUnparsed, newCorrelationId } from "./unparsed.ts";
import { addWebhook } from "./webhook.ts";

/** Of a JSON body. */
const BODY_BYTES = 64 * 1024;

const NO_RATES = { perKey: 0, perAddress: 0 };

const INTRO =
  "Takes PDFs to qualified electronic signatures. Hand in documents and the signer, follow the request, give the code " +
  "that the signer was sent, and fetch what was signed.";

/**
 * The HTTP API, ready to listen. It asks the pipeline and knows nothing of the steps. Every error is a problem document
 * (RFC 9457); no answer, log line or metric holds a secret or data about a signer. `close()` lets calls in progress end.
 */
export function createApi(parts: ApiParts): FastifyInstance {
  const { pipeline, keys, status, log, version, stages, feed, proxies = [], now = Date.now } = parts;
  const limits = { ...DEFAULT_LIMITS, ...parts.limits };
  const rates = createRates({ quota: parts.quota, rates: { ...NO_RATES, ...parts.rates } });
  const streams = createStreams({ most: limits.streams, ...(parts.beatMs !== undefined && { beatMs: parts.beatMs }) });
  const app: Server = Fastify({
    loggerInstance: log,
    // The framework would log addresses, and one of them holds a secret; the hook below logs the route instead.
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: "correlationId" }),
    genReqId: newCorrelationId,
    bodyLimit: BODY_BYTES,
    trustProxy: proxies.length === 0 ? false : [...proxies],
    // A connection on which nothing moves for a minute is gone; an upload that moves may take its time.
    connectionTimeout: 60_000,
    requestTimeout: limits.uploadMs,
    // A missing Host header is refused by us, in the words of all other refusals.
    http: { headersTimeout: 15_000, requireHostHeader: false },
    clientErrorHandler: answerUnparsed,
    forceCloseConnections: "idle",
    routerOptions: { maxParamLength: 512 },
    // What the router itself refuses comes by no handler and no hook.
    frameworkErrors: (error, request, reply) => void sendProblem(request, reply, error),
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.decorateRequest("keyName", "");
  app.decorateRequest("keyTenant", undefined);
  addParsers(app);
  addErrors(app);
  addHeaders(app);
  addGuards(app);
  addClosing(app);
  app.addHook("preClose", async () => {
    streams.close();
  });

  const metrics = createMetrics(parts);
  const hints = createHints({ nudge: (pk) => pipeline.nudge(pk), count: metrics.hint, log });
  app.addHook("onClose", () => {
    hints.close();
  });
  app.addHook("onResponse", async (request, reply) => {
    const { method } = request;
    const route = request.routeOptions.url ?? "none";
    const answered = { method, route, status: reply.statusCode };
    // How long somebody listened says nothing about how fast is answered.
    if (!route.endsWith("/events")) metrics.answered(answered, reply.elapsedTime);
    const fields = {
      ...answered,
      durationMs: Math.round(reply.elapsedTime),
      ...(request.keyName && { key: request.keyName }),
    };
    if (route.startsWith("/v1/")) request.log.info(fields, "call answered");
    else request.log.debug(fields, "call answered");
  });

  addOpenApi(app, { version, limits, intro: INTRO });
  app.after(() => {
    void app.register(async (scope) => {
      const inside = scope as unknown as Server;
      inside.addHook("onRequest", async (request, reply) => {
        const key = readBearer(keys, request.headers.authorization);
        if (key) {
          request.keyName = key.name;
          request.keyTenant = key.tenant;
          // Whoever watches must see how things stand, most of all when too much is called.
          if (request.routeOptions.url !== "/metrics") await rates.allowed(request, reply);
          return;
        }
        await rates.refused(request, reply);
        void reply.header("www-authenticate", 'Bearer realm="signpipe"');
        throw new ApiError("unauthorized", "Send one of the API keys as: Authorization: Bearer <secret>.");
      });
      addAcceptable(inside);
      addTenancy(inside, parts);
      addSubmit(inside, { ...parts, limits, remote: parts.remote ?? createRemote({ hosts: [] }) });
      if (parts.batches) addBatches(inside, { ...parts, batches: parts.batches });
      addReading(inside, parts);
      addActing(inside, parts);
      addEvents(inside, { pipeline, feed, streams });
      addNotifications(inside, parts);
      addLanes(inside, parts);
      addDownloads(inside, parts);
      addShown(inside, parts);
      if (!parts.metricsOpen) addMetrics(inside, { metrics, open: false });
    });
    if (parts.metricsOpen) addMetrics(app, { metrics, open: true });
    addWebhook(app, { secret: parts.webhookSecret, hints, metrics });
    addHealth(app, { status, version });
    addPages(app, { stages });
    // The board shows everybody's jobs.
    const forAll = keys.filter(({ tenant }) => tenant === undefined);
    if (parts.queues) addBoard(app, { queues: parts.queues, keys: forAll, now });
  });
  return app;
}

/** JSON, or nothing: clients that always send a content type may send no body with it. */
function addParsers(app: Server): void {
  const parseJson = app.getDefaultJsonParser("error", "error");
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "string" }, (request, body, done) => {
    if (body.length === 0) done(null, undefined);
    else
      void parseJson(request, String(body), (error, value) => {
        if (error) done(new ApiError("invalid-json", "The body is not valid JSON."));
        else done(null, value);
      });
  });
  app.addContentTypeParser("*", (request, payload, done) => {
    payload.resume();
    if (request.headers["content-length"] === "0") done(null, undefined);
    else {
      done(
        new ApiError(
          "unsupported-media-type",
          "Send JSON with content-type application/json, or no body where the call needs none.",
        ),
      );
    }
  });
}

/** A connection that was busy when the closing began, and is idle later, would hold it up until its client lets go. */
function addClosing(app: Server): void {
  app.addHook("preClose", async () => {
    const timer = setInterval(() => {
      app.server.closeIdleConnections();
    }, 50);
    app.server.once("close", () => {
      clearInterval(timer);
    });
    if (!app.server.listening) clearInterval(timer);
  });
}

/** What every answer carries; pages replace the policy by their own. */
function addHeaders(app: Server): void {
  app.addHook("onRequest", async (request, reply) => {
    void reply.headers({
      "cache-control": "no-store",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
      "cross-origin-resource-policy": "same-origin",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "x-correlation-id": request.id,
      "x-frame-options": "DENY",
    });
  });
}
