import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { pathInteger } from "./bodies.ts";
import { note } from "./context.ts";
import type { Context } from "./context.ts";
import { FaultSchema } from "./faults.ts";
import { approve, cancel, identify, refuse, validate } from "./humans.ts";
import type { Turn } from "./humans.ts";
import { OPERATIONS } from "./operations.ts";
import { changeSettings } from "./options.ts";
import { calm, listScenarios, play, SCENARIO_NAMES } from "./scenarios.ts";
import { CERTIFICATE_EVENTS } from "./states.ts";
import type { CertificateStatus } from "./states.ts";
import type { Request } from "./store.ts";
import { choicesOf, namedSwitches } from "./switches.ts";
import type { SettingsChange } from "./switches.ts";

/** Where the control calls are; the second is beside the pages. */
export const CONTROL_PATHS = ["/control", "/_sim"] as const;

const PERSON = z.strictObject({
  given_name: z.string().optional(),
  surname_1: z.string().optional(),
  surname_2: z.string().optional(),
  serial_number: z.string().optional(),
  id_document_type: z.enum(["IDC", "PAS", "PNO", "TIN", "CI", "CE"]).optional(),
  id_document_country: z
    .string()
    .regex(/^[A-Z]{2}$/)
    .optional(),
});
const IDENTIFY = z.strictObject({ outcome: z.enum(["complete", "incomplete", "fail"]), person: PERSON.optional() });
const REFUSE = z.strictObject({ reason: z.string().trim().min(1) });
const CERTIFICATE = z.strictObject({ status: z.enum(Object.keys(CERTIFICATE_EVENTS) as [CertificateStatus]) });
const FAULTS = z.preprocess((body): unknown => (Array.isArray(body) ? body : [body]), z.array(FaultSchema));
const PLAY = z.strictObject({ scenarios: z.array(z.enum(SCENARIO_NAMES)), over: z.boolean().default(false) });

/** Suspends, reactivates or revokes the certificate of a signed request; its status stays. */
function changeCertificate(context: Context, request: Request, status: CertificateStatus): Turn {
  const { from, event } = CERTIFICATE_EVENTS[status];
  const { certificate } = request;
  if (!certificate || !(from as readonly string[]).includes(certificate.status)) return "wrong-state";
  certificate.status = status;
  context.webhooks.notify(request, event, request.status);
  note(context, "certificate", request, { reason: status });
  return "done";
}

/** What people outside the API do to a request, each with what it needs to be told. */
const TURNS: Record<string, (context: Context, request: Request, body: unknown) => Turn> = {
  identify(context, request, body) {
    const { outcome, person = {} } = IDENTIFY.parse(body);
    const known = Object.fromEntries(Object.entries(person).filter(([, value]) => value !== undefined));
    return identify(context, request, outcome, known);
  },
  validate,
  approve: (context, request) => approve(context, request),
  refuse: (context, request, body) => refuse(context, request, REFUSE.parse(body).reason),
  cancel,
  certificate: (context, request, body) => changeCertificate(context, request, CERTIFICATE.parse(body).status),
};

/** One row of the overview: no personal data. */
export const summaryOf = (context: Context, request: Request): Record<string, unknown> => ({
  request_pk: request.pk,
  ...(request.videoidPk !== undefined && { videoid_pk: request.videoidPk }),
  status: request.status,
  created_at: new Date(request.createdAt).toISOString(),
  ...(request.videoidPk !== undefined && {
    videoid_link: `${context.origin()}/identify/${context.store.linkOf(request)}`,
  }),
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

type Control = {
  /** Method and path behind `/control`. */
  call: string;
  says: string;
  run: (context: Context, call: FastifyRequest, reply: FastifyReply) => unknown;
};

function one(context: Context, call: FastifyRequest, reply: FastifyReply): Request | undefined {
  const request = context.store.requests.get(pathInteger(call.params, "pk"));
  if (!request) reply.code(404);
  return request;
}

const turn = (name: string, says: string): Control => ({
  call: `POST /requests/{pk}/${name}`,
  says,
  run(context, call, reply) {
    const request = one(context, call, reply);
    if (!request) return { error: "no such request" };
    const isDone = TURNS[name]?.(context, request, call.body ?? {}) === "done";
    reply.code(isDone ? 200 : 409);
    return summaryOf(context, request);
  },
});

/** The control calls, for tests and demos in another process. Not part of the provider's contract. */
export const CONTROLS: readonly Control[] = [
  {
    call: "GET /health",
    says: "Whether it runs, and how many requests there are",
    run: ({ store }) => ({ status: "ok", requests: store.requests.size }),
  },
  { call: "GET /operations", says: "The API's operations, with their paths", run: () => OPERATIONS },
  {
    call: "GET /requests",
    says: "All requests, with nothing personal",
    run: (context) => [...context.store.requests.values()].map((request) => summaryOf(context, request)),
  },
  {
    call: "GET /requests/{pk}",
    says: "One of them",
    run(context, call, reply) {
      const request = one(context, call, reply);
      return request ? summaryOf(context, request) : { error: "no such request" };
    },
  },
  turn(
    "identify",
    'Play the signer: `{"outcome":"complete"}`, `"incomplete"` or `"fail"`, and `person` where it matters',
  ),
  turn("validate", "Play the provider's operator in 2-step mode"),
  turn("approve", "Play the provider's officer: approve"),
  turn("refuse", 'Play the provider\'s officer: refuse, with `{"reason"}`'),
  turn("cancel", "Cancel, from the provider's side"),
  turn("certificate", '`{"status":"SUSPENDED"}`, `"VALID"` or `"REVOKED"`, of a signed request'),
  {
    call: "GET /outbox",
    says: "Text messages with codes, `?request_pk=` for those of one request",
    run({ outbox }, call) {
      const pk = numberOf(call.query, "request_pk");
      return outbox.messages.filter((message) => pk === undefined || message.request_pk === pk);
    },
  },
  {
    call: "GET /ledger",
    says: "Every effect so far; `?after=` a number, `?request_pk=` of one request",
    run({ ledger }, call) {
      const [after, pk] = [numberOf(call.query, "after") ?? 0, numberOf(call.query, "request_pk")];
      return ledger.entries.filter((entry) => entry.seq > after && (pk === undefined || entry.request_pk === pk));
    },
  },
  { call: "GET /calls", says: "How often each operation was called", run: ({ calls }) => Object.fromEntries(calls) },
  { call: "GET /webhooks", says: "How notifications went", run: ({ webhooks }) => webhooks.counts },
  { call: "GET /faults", says: "Faults that wait for their calls", run: ({ faults }) => faults.pending() },
  {
    call: "POST /faults",
    says: "Add a fault, or an array of them",
    run({ faults }, call) {
      for (const fault of FAULTS.parse(call.body)) faults.add(fault);
      return faults.pending();
    },
  },
  {
    call: "DELETE /faults",
    says: "Forget all faults",
    run({ faults }) {
      faults.clear();
      return [];
    },
  },
  {
    call: "GET /switches",
    says: "What can be set, to what, and what it does",
    run: () =>
      namedSwitches().map((row) => ({
        name: row.name,
        standard: row.standard,
        may_be: choicesOf(row),
        says: row.says,
      })),
  },
  { call: "GET /settings", says: "What the switches are set to", run: ({ settings }) => settings },
  {
    call: "POST /settings",
    says: "Set some of them, and `webhookUrl`",
    run: ({ settings }, call) => changeSettings(settings, call.body as SettingsChange),
  },
  { call: "GET /scenarios", says: "The scenarios", run: () => listScenarios() },
  {
    call: "POST /scenarios",
    says: '`{"scenarios":["two-step"]}`: back to how it started, and then these; an empty list for the first alone, `"over":true` for the second alone',
    run({ settings, atStart, faults }, call) {
      const { scenarios, over } = PLAY.parse(call.body);
      if (!over) calm(settings, atStart, faults);
      play(scenarios, settings, faults);
      return { scenarios, settings, faults: faults.pending() };
    },
  },
  {
    call: "GET /clock",
    says: "The simulator's time",
    run: ({ clock }) => ({ now: new Date(clock.now()).toISOString(), aheadMs: clock.aheadMs() }),
  },
  {
    call: "POST /clock",
    says: '`{"advanceMs":60000}`: move it forward; what falls due in between happens',
    run({ clock, kept }, call) {
      clock.advance(z.strictObject({ advanceMs: z.number().min(0) }).parse(call.body).advanceMs);
      kept.save("clock", "", { aheadMs: clock.aheadMs() });
      return { now: new Date(clock.now()).toISOString(), aheadMs: clock.aheadMs() };
    },
  },
  {
    call: "GET /ca.pem",
    says: "The certificate of the simulator's authority",
    run: ({ authority }, _call, reply) => reply.type("application/x-pem-file").send(authority.pem),
  },
  {
    call: "GET /ca.crl",
    says: "Its list of revoked certificates, in DER",
    run: ({ authority, store, clock }, _call, reply) =>
      reply.type("application/pkix-crl").send(authority.revocations(revokedIn(store.requests), new Date(clock.now()))),
  },
];

const revokedIn = (requests: ReadonlyMap<number, Request>): string[] =>
  [...requests.values()].flatMap(({ certificate }) =>
    certificate?.status === "REVOKED" ? [certificate.serial_number] : [],
  );

/** Serves the control calls under each of their paths. */
export function controlRoutes(app: FastifyInstance, context: Context): void {
  for (const prefix of CONTROL_PATHS) {
    for (const { call, run } of CONTROLS) {
      const [method = "", path = ""] = call.split(" ");
      const url = prefix + path.replaceAll(/\{(\w+)\}/g, ":$1");
      app.route({ method, url, handler: (asked, reply) => reply.send(run(context, asked, reply)) });
    }
  }
}
