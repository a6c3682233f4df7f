import { z } from "zod";
import { Correction, corrected, Former, Order, type Ordered, withFormer } from "../core/correction.ts";
import { isFailure, PermanentError } from "../core/errors.ts";
import { backTo, type SentBack, type Waiting } from "../core/outcome.ts";
import { RequestPk, type Signer, VideoIdPk } from "../core/signing.ts";
import type { Intent, Run } from "../core/stage.ts";
import { AccountWishes } from "../core/tenant.ts";
import type { ProviderRequest } from "../provider/client.ts";
import type { RequestUpdate } from "../provider/provider.ts";
import { forgetFrom } from "../queues/forget.ts";
import { type NoteName, personOf } from "../queues/vault.ts";
import { whileAtWork } from "./at-work.ts";
import type { Tools } from "./stage.ts";

/** In these the provider takes corrections. @source docs/provider.md §Guards */
const EDITABLE = ["VIDEOPENDING", "VIDEOINCOMPLETE", "VIDEOREVIEW", "CREATED"];

/** What a stage at which people may order something has to know for it. */
export const OrderFacts = z.object({
  order: Order.optional(),
  former: z.array(Former).default([]),
  requestPk: RequestPk.optional(),
  videoidPk: VideoIdPk.optional(),
  ...AccountWishes.shape,
});
type Facts = z.infer<typeof OrderFacts>;

/** Looks again at once, with what came of an order. */
type Again = (news: { facts: Record<string, unknown>; note: string }) => Waiting;
type Running = Run<Tools, Facts & { requestPk: RequestPk }>;

/** The request at the provider; undefined when it is not there any more. */
async function lookUp({ provider, facts, signal }: Running): Promise<ProviderRequest | undefined> {
  try {
    return await provider.getRequest(facts.requestPk, { signal });
  } catch (error) {
    if (!isFailure(error, "not-found")) throw error;
    return undefined;
  }
}

/**
 * Carries out what a person has asked for while the identification was awaited; undefined when there is nothing, or
 * nothing more, that can be done about it. Safe to repeat: what was done shows at the provider, or is harmless twice.
 */
export async function carryOut(run: Running, again: Again): Promise<Waiting | SentBack | undefined> {
  const { order } = run.facts;
  if (!order) return undefined;
  const found = await lookUp(run);
  if (found?.status === "ISSUED") return undefined;
  return order.kind === "restart" ? await startOver(run, found, again) : await correct(run, order, found, again);
}

/**
 * After silence: the request is over at the provider, or the call may still be at work. Until that is clear nothing new
 * is made: there are never two that could be signed.
 */
export async function afterOrder(run: Running, intent: Intent): Promise<Waiting | "repeat"> {
  // The same values again change nothing.
  if (intent.effect === "update") return "repeat";
  const found = await lookUp(run);
  if (isOver(found)) return "repeat";
  const { policy, now } = run;
  return whileAtWork("outcome of the restart", intent, { settleMs: policy.settleMs, now });
}

function isOver(found: ProviderRequest | undefined): boolean {
  return found === undefined || found.status === "CANCELLED";
}

async function startOver(run: Running, found: ProviderRequest | undefined, again: Again): Promise<Waiting | SentBack> {
  const { facts, provider, effect, signal, now } = run;
  const { requestPk } = facts;
  if (!isOver(found)) {
    try {
      await effect("cancel", () => provider.cancel(requestPk, { signal }));
    } catch (error) {
      if (!(error instanceof PermanentError)) throw error;
      // Somebody else may have cancelled it in between; else it stays what it is, and so does everything here.
      if (!isOver(await lookUp(run))) return again(outcome({ kind: "restart", code: error.code, atMs: now() }));
    }
  }
  const ordered: Ordered = { kind: "restart", outcome: "taken", atMs: now() };
  return backTo("create", {
    code: "restarted",
    message: "The identification is begun anew; the one before was cancelled at the provider",
    facts: { ...forgetFrom("create"), ...withFormer(facts, now()), ordered },
    note: `restarted: request_pk ${requestPk} is cancelled`,
  });
}

async function correct(
  run: Running,
  { note: name, fields }: Extract<Order, { kind: "correction" }>,
  found: ProviderRequest | undefined,
  again: Again,
): Promise<Waiting | undefined> {
  const { requestId, facts, account, provider, vault, effect, signal, now } = run;
  const note = name as NoteName;
  const text = await vault.readNote(requestId, note);
  const person = await personOf(vault, requestId);
  const settle = (code?: string) => again(outcome({ kind: "correction", code, fields, atMs: now() }));
  // It was taken, and its process died before it could say so.
  if (text === undefined) return settle();
  const correction = Correction.parse(JSON.parse(text));
  const signer = corrected(person.signer, correction);
  const keep = async () => {
    await vault.replaceSigner(requestId, signer, note);
  };
  const refuse = async (code: string) => {
    await vault.dropNote(requestId, note);
    return settle(code);
  };
  if (!found || found.status === "CANCELLED" || found.status === "VIDEOERROR") {
    // It ends here, and what is made in its place is made with the corrected data.
    await keep();
    return undefined;
  }
  if (!EDITABLE.includes(found.status)) {
    const isThere = run.request.intent?.effect === "update" && shows(found, signer);
    if (!isThere) return await refuse("wrong-state");
    await keep();
    return settle();
  }
  const update = toUpdate(found, { correction, signer, fallback: () => account(facts), facts });
  if (!update) return await refuse("not-correctable");
  try {
    await effect("update", () => provider.updateRequest(facts.requestPk, update, { signal }));
  } catch (error) {
    if (!(error instanceof PermanentError)) throw error;
    return await refuse(error.code);
  }
  // "Updated" may be said of what was left as it is: where the code goes is where the provider says the phone is.
  const after = await lookUp(run);
  if (after && !shows(after, signer)) return await refuse("correction-ignored");
  await keep();
  return settle();
}

/** Whether the provider shows this signer's address and phone, as far as it shows any. */
function shows({ email, mobilePhoneNumber }: ProviderRequest, signer: Signer): boolean {
  const digits = (phone: string) => phone.replaceAll(/\D/g, "").replace(/^00/, "");
  const isEmail = email === undefined || email.toLowerCase() === signer.email.toLowerCase();
  return (
    isEmail && (mobilePhoneNumber === undefined || digits(mobilePhoneNumber) === digits(signer.mobile_phone_number))
  );
}

/**
 * The update with what is to be corrected and no more, since what the identification found out cannot be changed, and
 * would be refused although it is the same. Undefined when something that it needs is not known.
 * @source docs/provider.md §Update Request
 */
function toUpdate(
  found: ProviderRequest,
  {
    correction,
    signer,
    facts,
    fallback,
  }: { correction: Correction; signer: Signer; facts: Facts; fallback: () => ReturnType<Tools["account"]> },
): RequestUpdate | undefined {
  const { scratchcard } = found;
  const profile = found.profile ?? facts.profile ?? fallback().profile;
  const registration_authority =
    found.registrationAuthority ?? facts.registrationAuthority ?? fallback().registrationAuthority;
  const country_name = correction.country_name ?? found.countryName ?? signer.id_document_country;
  if (!scratchcard || !profile || !registration_authority || !country_name) return undefined;
  return { ...correction, scratchcard, email: signer.email, profile, registration_authority, country_name };
}

/** What came of an order, for the record and the history. */
function outcome({ kind, code, fields, atMs }: Omit<Ordered, "outcome" | "code"> & { code?: string | undefined }) {
  const ordered: Ordered = {
    kind,
    outcome: code === undefined ? "taken" : "refused",
    ...(code !== undefined && { code }),
    ...(fields && { fields }),
    atMs,
  };
  return {
    facts: { order: null, ordered },
    note: `${kind} ${ordered.outcome}${code === undefined ? "" : `: ${code}`}`,
  };
}
