import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { pathInteger } from "./bodies.ts";
import type { Context } from "./context.ts";
import { FaultSchema } from "./faults.ts";
import { approve, identify } from "./humans.ts";
import type { Humans, Settings, WebhookOptions } from "./options.ts";
import type { Request } from "./store.ts";

const Person = z.strictObject({
  given_name: z.string().optional(),
  surname_1: z.string().optional(),
  surname_2: z.string().optional(),
  serial_number: z.string().optional(),
});

const Identify = z.strictObject({ outcome: z.enum(["complete", "incomplete", "fail"]), person: Person.optional() });

const HumansSchema = z.strictObject({
  signer: z.enum(["off", "auto"]),
  signerDelayMs: z.number().min(0),
  signerOutcome: z.enum(["complete", "incomplete", "fail", "incomplete-then-complete"]),
  rao: z.enum(["off", "auto"]),
  raoDelayMs: z.number().min(0),
}) satisfies z.ZodType<Humans>;

const WebhooksSchema = z.strictObject({
  shape: z.enum(["new", "old"]),
  delayMs: z.number().min(0),
  duplicate: z.boolean(),
  reorder: z.boolean(),
  drop: z.union([z.boolean(), z.int().min(1)]),
  concurrency: z.int().min(1),
  timeoutMs: z.number().min(1),
}) satisfies z.ZodType<WebhookOptions>;

const SettingsSchema = z.strictObject({
  webhookUrl: z.url().nullable(),
  webhooks: WebhooksSchema.partial(),
  humans: HumansSchema.partial(),
  latencyMs: z.number().min(0),
  otpGuardMs: z.number().min(0),
  otpLifetimeMs: z.number().min(0),
  otpAttempts: z.int().min(1),
  retrieval: z.enum(["both", "seed", "reference"]),
  errorStyle: z.enum(["status", "fastapi", "old"]),
  uploadShape: z.enum(["new", "array", "old"]),
  createStatus: z.union([z.literal(200), z.literal(201)]),
  notFoundAs400: z.boolean(),
  requireEnv: z.boolean(),
  maxDocumentsPerCall: z.int().min(1),
  maxDocumentsPerRequest: z.int().min(1),
  pdfClean: z.boolean(),
});

const ChangesSchema = SettingsSchema.partial();
export type SettingsChange = z.input<typeof ChangesSchema>;

/** Changes settings of a running simulator; what is not named stays. `webhookUrl: null` switches notifications off. */
export function changeSettings(settings: Settings, change: SettingsChange): Settings {
  const { humans, webhooks, webhookUrl, ...plain } = ChangesSchema.parse(change);
  Object.assign(settings, plain);
  Object.assign(settings.humans, humans);
  Object.assign(settings.webhooks, webhooks);
  if (webhookUrl !== undefined) settings.webhookUrl = webhookUrl ?? undefined;
  return settings;
}

/** One row of the overview: no personal data. */
export const summaryOf = (context: Context, request: Request): Record<string, unknown> => ({
  request_pk: request.pk,
  videoid_pk: request.videoidPk,
  status: request.status,
  created_at: new Date(request.createdAt).toISOString(),
  videoid_link: `${context.origin()}/identify/${context.store.linkOf(request)}`,
  documents: [...request.documents.values()].map(({ uid, bytes, sha256, signedSha256 }) => ({
    uid,
    bytes,
    sha256,
    ...(signedSha256 ? { signed_sha256: signedSha256 } : {}),
  })),
});

const numberOf = (query: unknown, key: string): number | undefined => {
  const value = Number((query as Record<string, string | undefined>)[key] ?? Number.NaN);
  return Number.isNaN(value) ? undefined : value;
};

/**
 * The control interface under `/_sim/`, for tests and demos in another process. Not part of the provider's contract.
 */
export function controlRoutes(app: FastifyInstance, context: Context): void {
  const { store, ledger, outbox, faults, settings } = context;

  app.get("/_sim/health", (_call, reply) => reply.send({ status: "ok", requests: store.requests.size }));
  app.get("/_sim/ca.pem", (_call, reply) => reply.type("application/x-pem-file").send(context.authority.pem));

  app.get("/_sim/ledger", (call, reply) => {
    const [after, pk] = [numberOf(call.query, "after") ?? 0, numberOf(call.query, "request_pk")];
    return reply.send(
      ledger.entries.filter((entry) => entry.seq > after && (pk === undefined || entry.request_pk === pk)),
    );
  });
  app.get("/_sim/calls", (_call, reply) => reply.send(Object.fromEntries(context.calls)));
  app.get("/_sim/outbox", (call, reply) => {
    const pk = numberOf(call.query, "request_pk");
    return reply.send(outbox.messages.filter((message) => pk === undefined || message.request_pk === pk));
  });
  app.get("/_sim/webhooks", (_call, reply) => reply.send(context.webhooks.counts));

  app.get("/_sim/requests", (_call, reply) =>
    reply.send([...store.requests.values()].map((request) => summaryOf(context, request))),
  );
  app.get("/_sim/requests/:pk", (call, reply) => {
    const request = store.requests.get(pathInteger(call.params, "pk"));
    return request ? reply.send(summaryOf(context, request)) : reply.code(404).send({ error: "no such request" });
  });
  app.post("/_sim/requests/:pk/identify", (call, reply) => {
    const { outcome, person } = Identify.parse(call.body);
    const request = store.requests.get(pathInteger(call.params, "pk"));
    if (!request) return reply.code(404).send({ error: "no such request" });
    const known = Object.fromEntries(Object.entries(person ?? {}).filter(([, value]) => value !== undefined));
    const done = identify(context, request, outcome, known) === "done";
    return reply.code(done ? 200 : 409).send(summaryOf(context, request));
  });
  app.post("/_sim/requests/:pk/approve", (call, reply) => {
    const request = store.requests.get(pathInteger(call.params, "pk"));
    if (!request) return reply.code(404).send({ error: "no such request" });
    const done = approve(context, request) === "done";
    return reply.code(done ? 200 : 409).send(summaryOf(context, request));
  });

  app.get("/_sim/faults", (_call, reply) => reply.send(faults.pending()));
  app.post("/_sim/faults", (call, reply) => {
    for (const fault of z.union([FaultSchema.transform((one) => [one]), z.array(FaultSchema)]).parse(call.body))
      faults.add(fault);
    return reply.send(faults.pending());
  });
  app.delete("/_sim/faults", (_call, reply) => {
    faults.clear();
    return reply.send([]);
  });

  app.get("/_sim/settings", (_call, reply) => reply.send(settings));
  app.post("/_sim/settings", (call, reply) => reply.send(changeSettings(settings, call.body as SettingsChange)));
  app.post("/_sim/clock", (call, reply) => {
    context.clock.advance(z.strictObject({ advanceMs: z.number().min(0) }).parse(call.body).advanceMs);
    return reply.send({ now: new Date(context.clock.now()).toISOString() });
  });
}
