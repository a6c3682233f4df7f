import { createHash } from "node:crypto";
import type { Clock } from "./clock.ts";
import { Refusal } from "./envelopes.ts";
import type { Faults } from "./faults.ts";
import type { Humans } from "./humans.ts";
import type { Effect, Facts, Ledger } from "./ledger.ts";
import type { OptimizerSettings } from "./optimizer.ts";
import type { Credentials, Settings } from "./options.ts";
import type { Outbox } from "./outbox.ts";
import type { Authority } from "./signing/authority.ts";
import type { StateFile } from "./state-file.ts";
import { GUARDS, MOVES } from "./states.ts";
import type { MoveName } from "./states.ts";
import type { Request, Store } from "./store.ts";
import type { Webhooks } from "./webhooks.ts";

/** Everything a route works with; made once in simulator.ts. */
export type Context = {
  settings: Settings;
  /** What they were before anybody changed them. */
  atStart: Settings;
  optimizer: OptimizerSettings;
  credentials: Credentials;
  clock: Clock;
  store: Store;
  ledger: Ledger;
  /** What the next run begins with. */
  kept: StateFile;
  outbox: Outbox;
  faults: Faults;
  webhooks: Webhooks;
  humans: Humans;
  authority: Authority;
  documentsFolder: string;
  imagesFolder: string;
  /** Images and videos of identifications. */
  identityFolder: string;
  /** Arrived API calls by operation. */
  calls: Map<string, number>;
  /** Origin for links, known once the server listens. */
  origin: () => string;
};

/** What was uploaded: a PDF, or a hash file. */
export const originalPath = (context: Context, uid: string): string => `${context.documentsFolder}/${uid}.original`;
/** The PDF as it was written anew before it was signed. */
export const cleanPath = (context: Context, uid: string): string => `${context.documentsFolder}/${uid}.clean`;
/** What signing appended to a document, or made of a hash. */
export const tailPath = (context: Context, uid: string): string => `${context.documentsFolder}/${uid}.tail`;
export const contractTailPath = (context: Context, requestPk: number): string =>
  `${context.documentsFolder}/contract-${requestPk}.tail`;
export const videoPath = (context: Context, requestPk: number): string =>
  `${context.identityFolder}/${requestPk}.video`;
export const identityPath = (context: Context, uid: string): string => `${context.identityFolder}/${uid}.image`;
/** All files of these documents. */
export const filesOf = (context: Context, uids: string[]): string[] =>
  uids.flatMap((uid) => [originalPath(context, uid), cleanPath(context, uid), tailPath(context, uid)]);

/** Keeps a request as it is now, and records what was done to it. */
export function note(context: Context, effect: Effect, request: Request, facts: Facts = {}): void {
  const { pk, videoidPk } = request;
  context.kept.save("request", pk, request);
  context.ledger.add(effect, { request_pk: pk, ...(videoidPk !== undefined && { videoid_pk: videoidPk }), ...facts });
}

/** Makes a move of the state machine and announces it. The caller has checked that it is allowed. */
export function move(context: Context, request: Request, step: MoveName): void {
  const previous = request.status;
  const { to, event } = MOVES[step];
  request.status = to;
  if (to === "ENROLLREADY") request.approvedAt = context.clock.now();
  context.webhooks.notify(request, event, previous);
  context.humans.after(request);
}

/** Refuses a call that the request's status does not allow. */
export function guard(request: Request, call: keyof typeof GUARDS): void {
  const { allows, http, text } = GUARDS[call];
  if (!(allows as readonly string[]).includes(request.status))
    throw new Refusal(http, text(request.pk), call === "contract");
}

/** The request, or a refusal with the text that this call uses for an unknown one. */
export function requestOr(context: Context, pk: number, text: string, disguised = false): Request {
  const request = context.store.requests.get(pk);
  if (!request) throw new Refusal(404, text, disguised);
  return request;
}

/** What the ledger keeps of a phone number. */
export const hashOfPhone = (phone: string): string => createHash("sha256").update(phone).digest("hex");
