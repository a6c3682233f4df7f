import { checkConfiguration } from "../account.ts";
import { textOf } from "../bodies.ts";
import type { Body } from "../bodies.ts";
import { note } from "../context.ts";
import type { Context } from "../context.ts";
import { Refusal } from "../envelopes.ts";
import { cancel } from "../humans.ts";
import type { Generation } from "../operations.ts";
import type { Request } from "../store.ts";
import { appearanceFrom } from "./appearance-body.ts";
import { counterFrom, firstOrderFrom, lostDocuments } from "./first-body.ts";
import { signAll } from "./sign-request.ts";
import type { SignOrder } from "./sign-request.ts";

type Unlock = { secret: string } | { type: string; value: string };

/**
 * `secret` alone, the external pair alone, or all three; with the pair it is the customer who vouches.
 * @source docs/provider.md §Sign
 */
function unlockFrom({ settings }: Context, body: Body): Unlock {
  const [secret, type, value] = ["secret", "ext_unlock_type", "ext_unlock_value"].map((key) => textOf(body, key));
  const isExternal = type !== undefined && value !== undefined;
  if (secret === undefined && (settings.secretBesideUnlock || !isExternal))
    throw new Refusal(400, "Missing required parameter: 'secret'");
  return isExternal ? { type, value } : { secret: secret ?? "" };
}

/** Whether this is the code of the last OTP, in time and not void; a wrong one counts. A new OTP voids the former. */
function acceptsCode({ clock, settings }: Context, { otp }: Request, secret: string): boolean {
  if (!otp) return false;
  if (clock.now() - otp.at > settings.otpLifetimeMs || otp.wrong >= settings.otpAttempts) return false;
  if (otp.code === secret) return true;
  otp.wrong++;
  return false;
}

function checkUnlock(context: Context, request: Request, unlock: Unlock): void {
  const { extUnlockTypes } = context.credentials;
  const isRight =
    "secret" in unlock ? acceptsCode(context, request, unlock.secret) : (extUnlockTypes?.includes(unlock.type) ?? true);
  if (isRight) return;
  note(context, "sign-rejected", request, { status: request.status, reason: "wrong-code" });
  throw new Refusal(403, "Confirmation Code invalid");
}

function checkState(context: Context, request: Request): void {
  if (request.status === "ENROLLREADY" && !request.accepted) return;
  note(context, "sign-rejected", request, { status: request.status, reason: "wrong-state" });
  const issued = request.status === "ISSUED";
  throw new Refusal(412, issued ? "Request already in ISSUED status" : "Invalid request status");
}

type Call = { body: Body; generation: Generation };

/** What the call asks for, when everything but the code allows it. */
async function orderFrom(context: Context, request: Request, { body, generation }: Call): Promise<SignOrder> {
  if (request.documents.size === 0) throw new Refusal(404, "No documents found for specified Request");
  const uids = [...request.documents.keys()];
  if (context.settings.loseDocuments) throw lostDocuments(uids);
  if (generation === "first") return firstOrderFrom(context, body, uids);
  const all = new Map(uids.map((uid) => [uid, { usecountersignature: true }]));
  const counter = context.settings.countersignature === "checked" ? counterFrom(body, all) : undefined;
  return { appearanceOf: await appearanceFrom(context, body, uids), ...(counter && { counter }) };
}

/** One sign call at a time for a request: two must not both issue a certificate. */
async function alone<T>(request: Request, work: () => Promise<T>): Promise<T> {
  // The later one waits, and then finds what the earlier one made of the request.
  while (request.signing) await request.signing.catch(() => undefined);
  const done = work();
  request.signing = done;
  try {
    return await done;
  } finally {
    delete request.signing;
  }
}

/** Signs before it answers. Throws Refusal and SchemaViolation. */
export const signNow = (context: Context, request: Request, call: Call): Promise<void> =>
  alone(request, async () => {
    const unlock = unlockFrom(context, call.body);
    checkState(context, request);
    checkConfiguration(context);
    const order = await orderFrom(context, request, call);
    checkUnlock(context, request, unlock);
    await signAll(context, request, order);
  });

/** Takes a signing on, to be done when its time has come. Throws Refusal and SchemaViolation. */
export const signLater = (context: Context, request: Request, call: Call): Promise<void> =>
  alone(request, async () => {
    const unlock = unlockFrom(context, call.body);
    checkState(context, request);
    checkConfiguration(context);
    await orderFrom(context, request, call);
    const { asyncChecks, asyncSignMs } = context.settings;
    if (asyncChecks === "before") checkUnlock(context, request, unlock);
    const dueAt = context.clock.now() + asyncSignMs;
    request.accepted = { dueAt, ...call, isUnlocked: asyncChecks === "before" };
    note(context, "sign-accepted", request, { status: request.status });
    scheduleAccepted(context, request);
  });

/** Sets the time for a signing that was taken on, in this run or in an earlier one. */
export function scheduleAccepted(context: Context, request: Request): void {
  const { accepted } = request;
  if (!accepted) return;
  context.clock.later(Math.max(accepted.dueAt - context.clock.now(), 0), () => void finish(context, request));
}

/** Nobody waits for an answer any more: what goes wrong is only in the ledger. */
async function finish(context: Context, request: Request): Promise<void> {
  const failed = (reason: string): void => note(context, "sign-failed", request, { status: request.status, reason });
  await alone(request, async () => {
    const { accepted } = request;
    delete request.accepted;
    if (!accepted || request.status !== "ENROLLREADY") return failed("wrong-state");
    const { asyncOutcome } = context.settings;
    if (asyncOutcome === "cancelled") cancel(context, request);
    if (asyncOutcome !== "signed") return failed(asyncOutcome);
    try {
      const order = await orderFrom(context, request, accepted);
      if (!accepted.isUnlocked) checkUnlock(context, request, unlockFrom(context, accepted.body));
      await signAll(context, request, order);
    } catch (error) {
      failed(error instanceof Refusal ? String(error.http) : "error");
    }
  });
}
