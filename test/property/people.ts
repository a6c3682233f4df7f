import { expect } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import { isEnd } from "../../src/core/status.ts";
import { newId } from "../helpers/toy.ts";
import { CREATE_GRACE_MS, type startPaperPipeline } from "./paper-pipeline.ts";

/** Refusals that say: this is not possible where the request is. */
const NO = ["not-possible-now", "already-decided", "otp-too-soon", "otp-too-many", "too-late"];

export type Pipe = Awaited<ReturnType<typeof startPaperPipeline>>;

/** What somebody outside knows to have been asked for and accepted: no more than that may happen. */
export interface Asked {
  id: string;
  decided: "approve" | "refuse" | undefined;
  cancelled: boolean;
  /** Signatures at the moment of the cancellation. */
  signedBefore: number;
  resends: number;
  retries: number;
  restarts: number;
  corrections: number;
  version: number;
}
/** Whether the pipeline took it. Anything but a plain no is a failure of the test. */
async function takes(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    if (error instanceof PermanentError || error instanceof RetryableError) {
      if (NO.includes(error.code)) return false;
    }
    throw error;
  }
}

export const effectsOf = ({ paper }: Pipe, id: string, effect: string) =>
  paper.ledger.filter((entry) => entry.email === `${id}@example.com` && entry.effect === effect);

export const pkOf = async ({ store }: Pipe, id: string) =>
  (await store.get(id)).facts["requestPk"] as number | undefined;

/** Submits one, twice. */
export async function submit(pipe: Pipe): Promise<Asked> {
  const id = newId();
  expect(await pipe.submitFor(id)).toMatchObject({ outcome: "accepted" });
  expect(await pipe.submitFor(id)).toMatchObject({ outcome: "known" });
  return {
    id,
    decided: undefined,
    cancelled: false,
    signedBefore: 0,
    resends: 0,
    retries: 0,
    restarts: 0,
    corrections: 0,
    version: 0,
  };
}

/** What must hold for all that were submitted; see `check` of the pipeline. */
export async function checkAll(asked: readonly Asked[], pipe: Pipe, atRest: boolean): Promise<void> {
  for (const one of asked) {
    const version = await pipe.check(one.id, { atRest });
    expect(version).toBeGreaterThanOrEqual(one.version);
    one.version = version;
    await checkEffects(pipe, one);
    await checkOrders(pipe, one, atRest);
  }
}

/** What has another one in its place is over at the provider, and both sides mean the same phone. */
async function checkOrders({ store, paper, vault, journal }: Pipe, { id }: Asked, atRest: boolean): Promise<void> {
  const had = new Set<number>();
  for (const { request, patch } of journal) {
    const pk = (patch?.["facts"] as { requestPk?: number | null } | undefined)?.requestPk;
    if (request === id && typeof pk === "number") had.add(pk);
  }
  const { facts, phase, intent } = await store.get(id);
  const pk = facts["requestPk"];
  for (const former of had)
    if (typeof pk === "number" && former !== pk) expect(paper.statusOf(former)).toBe("CANCELLED");
  const person = await vault.read(id);
  if (!atRest || isEnd(phase) || intent || facts["order"] || typeof pk !== "number" || !person) return;
  expect(paper.phoneOf(pk)).toBe(person.signer.mobile_phone_number);
}

/** What may have happened at the provider, given what was asked. */
async function checkEffects(pipe: Pipe, one: Asked): Promise<void> {
  const of = (effect: string) => effectsOf(pipe, one.id, effect);
  const bound = new Set(
    pipe.journal
      .filter(({ request }) => request === one.id)
      .map(({ patch }) => (patch?.["facts"] as { requestPk?: number } | undefined)?.requestPk),
  );
  expect(of("sign").length).toBeLessThanOrEqual(1);
  for (const effect of ["approve", "otp", "sign", "upload"]) {
    for (const { pk } of of(effect)) expect(bound).toContain(pk);
  }
  for (const pk of bound) {
    expect(of("approve").filter((entry) => entry.pk === pk).length).toBeLessThanOrEqual(1);
  }
  expect(of("otp").length).toBeLessThanOrEqual(1 + one.resends + one.retries);
  expect(of("update").length === 0 || one.corrections > 0).toBe(true);
  expect(of("create").length).toBeLessThanOrEqual(2 * (1 + one.retries + one.restarts));
  if (one.retries === 0) {
    // A creation that was not heard of is made once more after the grace, or when what it made was cancelled.
    for (const [i, again] of of("create").entries()) {
      const first = of("create")[i - 1];
      const isCancelled = of("cancel").some(({ pk, atMs }) => pk === first?.pk && atMs <= again.atMs);
      if (first && !isCancelled) expect(again.atMs - first.atMs).toBeGreaterThanOrEqual(CREATE_GRACE_MS);
    }
    // Of one that was begun anew, the decision about the one before is no longer in force.
    if (one.decided !== "approve" && one.restarts === 0) expect(of("approve")).toEqual([]);
    if (one.decided !== "refuse" && one.restarts === 0) expect(of("refuse")).toEqual([]);
  }
  for (const { documents } of of("otp")) expect(documents).toBe(1);
  for (const { documents } of of("sign")) expect(documents).toBe(1);
  if (one.cancelled) expect(of("sign").length).toBe(one.signedBefore);
}

export async function decide(one: Asked, pipe: Pipe, kind: "approve" | "refuse"): Promise<void> {
  const call =
    kind === "approve" ? pipe.pipeline.approve(one.id, "api:rao") : pipe.pipeline.refuse(one.id, "no", "api:rao");
  if (!(await takes(call))) return;
  expect(one.decided).toBeUndefined();
  one.decided = kind;
}

export async function giveCode(one: Asked, pipe: Pipe, isRight: boolean): Promise<boolean> {
  const code = pipe.paper.codeOf((await pkOf(pipe, one.id)) ?? 0) ?? "000000";
  return await takes(pipe.pipeline.giveCode(one.id, isRight ? code : "999999", "api:signer"));
}

export async function resend(one: Asked, pipe: Pipe): Promise<void> {
  // Counted beforehand: the code may have left before the answer is here.
  one.resends += 1;
  if (!(await takes(pipe.pipeline.resendCode(one.id, "api:signer")))) one.resends -= 1;
}

export async function cancel(one: Asked, pipe: Pipe): Promise<void> {
  if (!(await takes(pipe.pipeline.cancel(one.id, "api:clerk")))) return;
  expect(one.cancelled).toBe(false);
  one.cancelled = true;
  one.signedBefore = effectsOf(pipe, one.id, "sign").length;
}

export async function retry(one: Asked, pipe: Pipe): Promise<void> {
  one.retries += 1;
  if (!(await takes(pipe.pipeline.retry(one.id, "api:clerk")))) {
    one.retries -= 1;
    return;
  }
  const { facts } = await pipe.store.get(one.id);
  if (facts["decision"] === undefined) one.decided = undefined;
}

export async function restart(one: Asked, pipe: Pipe): Promise<void> {
  one.restarts += 1;
  if (!(await takes(pipe.pipeline.restart(one.id, "api:clerk")))) {
    one.restarts -= 1;
    return;
  }
  const { facts, stage } = await pipe.store.get(one.id);
  // One that is kept at the provider goes to its cleanup first, which forgets what was decided about it.
  if (facts["decision"] === undefined || stage === "cleanup") one.decided = undefined;
}

export async function correct(one: Asked, pipe: Pipe): Promise<void> {
  one.corrections += 1;
  const mobile_phone_number = `+346${String(10_000_000 + one.corrections)}`;
  await takes(pipe.pipeline.correct(one.id, { mobile_phone_number }, "api:clerk"));
}

/** Does what an honest person would do next. */
export async function goOn(one: Asked, pipe: Pipe): Promise<void> {
  const { waiting, facts } = await pipe.store.get(one.id);
  const pk = facts["requestPk"] as number | undefined;
  if (waiting?.for === "identification" && pk !== undefined && pipe.paper.identify(pk)) await pipe.pipeline.nudge(pk);
  if (waiting?.for === "approval") await decide(one, pipe, "approve");
  if (waiting?.for === "code" || waiting?.for === "another code") await giveCode(one, pipe, true);
}

/** Plays everybody's part until every request is over. */
export async function comeToAnEnd(asked: readonly Asked[], pipe: Pipe): Promise<void> {
  pipe.paper.clearFaults();
  for (let round = 0; round < 60; round++) {
    await pipe.settle();
    let isOpen = false;
    for (const one of asked) {
      const { phase, waiting, facts } = await pipe.store.get(one.id);
      isOpen ||= !isEnd(phase);
      const pk = facts["requestPk"] as number | undefined;
      if (waiting?.for === "identification" && pk !== undefined && pipe.paper.identify(pk))
        await pipe.pipeline.nudge(pk);
      if (waiting?.for === "approval") await decide(one, pipe, "approve");
      if (waiting?.for === "code" || waiting?.for === "another code") await giveCode(one, pipe, true);
      if (waiting?.for === "a new OTP") {
        await resend(one, pipe);
        if ((facts["otp"] as { count: number }).count >= 3) await cancel(one, pipe);
      }
    }
    await pipe.settle();
    await pipe.reconciler.sweep();
    await checkAll(asked, pipe, true);
    if (!isOpen) break;
    await pipe.pass(round % 3 === 2 ? 700_000 : 70_000);
  }
  for (const one of asked) {
    const { stage, phase, failure, facts } = await pipe.store.get(one.id);
    const signed = effectsOf(pipe, one.id, "sign").length;
    const told = `${one.id} is at ${stage} ${phase} ${failure?.code ?? ""} ${JSON.stringify(facts)}`;
    expect(isEnd(phase), told).toBe(true);
    const pk = (facts["requestPk"] as number | undefined) ?? 0;
    const isSigned = signed === 1 || pipe.paper.statusOf(pk) === "ISSUED";
    expect(phase === "done", told).toBe(isSigned);
    if (one.cancelled) expect(phase, told).toBe(isSigned ? "done" : "cancelled");
    else if (one.decided === "refuse") expect(["refused", "cancelled", "failed"], told).toContain(phase);
    if (facts["cleanupFailed"] !== undefined) await cleanAgain(one, pipe);
    if (facts["requestPk"] !== undefined) expect(pipe.paper.documentsOf(pk), told).toBe(0);
  }
}

/** What an operator does about a cleanup that was given up, once its cause is mended. */
async function cleanAgain({ id }: Asked, pipe: Pipe): Promise<void> {
  const before = await pipe.store.get(id);
  expect((await pipe.pipeline.counts()).uncleaned).toBeGreaterThan(0);
  await pipe.pipeline.retry(id, "api:clerk");
  await pipe.settle();
  await pipe.check(id, { atRest: true });
  const after = await pipe.store.get(id);
  expect([after.phase, after.failure, after.facts["cleanupFailed"]]).toEqual([before.phase, before.failure, undefined]);
}
