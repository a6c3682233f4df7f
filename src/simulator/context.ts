import { createHash } from "node:crypto";
import type { Clock } from "./clock.ts";
import type { Faults } from "./faults.ts";
import type { Humans } from "./humans.ts";
import type { Ledger } from "./ledger.ts";
import type { Credentials, Settings } from "./options.ts";
import type { Outbox } from "./outbox.ts";
import type { Authority } from "./signing/authority.ts";
import { GUARDS, MOVES } from "./states.ts";
import type { MoveName } from "./states.ts";
import type { Request, Store } from "./store.ts";
import type { Webhooks } from "./webhooks.ts";
import { Refusal } from "./envelopes.ts";

/** Everything a route works with; made once in simulator.ts. */
export type Context = {
  settings: Settings;
  credentials: Credentials;
  clock: Clock;
  store: Store;
  ledger: Ledger;
  outbox: Outbox;
  faults: Faults;
  webhooks: Webhooks;
  humans: Humans;
  authority: Authority;
  documentsFolder: string;
  imagesFolder: string;
  /** Arrived API calls by operation. */
  calls: Map<string, number>;
  /** Origin for links, known once the server listens. */
  origin: () => string;
};

export const originalPath = (context: Context, uid: string): string => `${context.documentsFolder}/${uid}.pdf`;
/** What signing appended to a document. */
export const tailPath = (context: Context, uid: string): string => `${context.documentsFolder}/${uid}.tail`;
export const contractTailPath = (context: Context, requestPk: number): string =>
  `${context.documentsFolder}/contract-${requestPk}.tail`;
/** All files of these documents. */
export const filesOf = (context: Context, uids: string[]): string[] =>
  uids.flatMap((uid) => [originalPath(context, uid), tailPath(context, uid)]);

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
