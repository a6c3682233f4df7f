import type { FastifyRequest } from "fastify";
import { createHash } from "node:crypto";
import { callLike } from "../../core/calls.ts";
import type { RequestId, SignRequest } from "../../core/request.ts";
import { inSameOrder } from "../../core/same-order.ts";
import type { Idempotency } from "./idempotency-types.ts";
import { ApiError } from "./problem.ts";
import { idempotencyKeyOf, inProgress, keepExtended } from "./submit.ts";

interface Act<View> {
  id: RequestId;
  /** The request as it is. Throws when there is none. */
  get(): Promise<SignRequest>;
  /** Does it; `call` is to be written into the record in the same step. */
  run(call: string | undefined): Promise<SignRequest>;
  /** What is answered. */
  show(request: SignRequest): View;
}

interface Answered<View> {
  answer: View;
  /** It was done before, under the same key. */
  replayed: boolean;
}

/**
 * Does what a call asks for at a request: with an Idempotency-Key once, however often the call comes, also when the
 * process dies at any instant. A call that is refused has done nothing, and binds the key to its body and to nothing else.
 * Throws ApiError "invalid-idempotency-key", "idempotency-in-progress", "idempotency-mismatch", and what `run` throws.
 */
export async function actOnce<View>(
  request: FastifyRequest,
  idempotency: Idempotency,
  act: Act<View>,
): Promise<Answered<View>> {
  const name = idempotencyKeyOf(request);
  if (name === undefined) return { answer: act.show(await act.run(undefined)), replayed: false };
  const bodyHash = hashOf(request);
  const begun = await idempotency.begin(name);
  if (begun.state === "busy") throw inProgress();
  if (begun.state === "done") {
    const { bound } = begun;
    if (bound.bodyHash !== bodyHash) throw otherCall();
    const answer = bound.answer === undefined ? act.show(await act.get()) : (JSON.parse(bound.answer) as View);
    return { answer, replayed: true };
  }
  const { claim, earlier } = begun;
  const stop = keepExtended(claim);
  try {
    if (earlier && earlier.bodyHash !== bodyHash) throw otherCall();
    if (!(await claim.bind({ bodyHash, requestId: act.id }))) throw inProgress();
    // The record knows what Redis may have forgotten, and what a process that died could not say any more.
    const call = idempotency.printOf(name, bodyHash);
    const known = await act.get();
    const same = callLike(known, call);
    if (same !== undefined && same !== call) throw otherCall();
    const answer = act.show(same === undefined ? await act.run(call) : known);
    // Done is done: when only the memory of the key fails, the next call finds it in the record.
    await claim
      .finish(JSON.stringify(answer))
      .catch((error: unknown) => request.log.warn({ err: error }, "idempotency key not finished"));
    return { answer, replayed: same !== undefined };
  } finally {
    stop();
    await claim.release().catch((error: unknown) => request.log.warn({ err: error }, "idempotency claim not released"));
  }
}

/** What is asked for, at which address, with the body as it was read: spaces in it are no other body. */
function hashOf({ method, url, body }: FastifyRequest): string {
  const asked = [method, url.split("?", 1)[0], inSameOrder(body ?? {})];
  return createHash("sha256").update(asked.join(" ")).digest("hex");
}

function otherCall(): ApiError {
  return new ApiError(
    "idempotency-mismatch",
    "This Idempotency-Key was used for another call, or with another body; use a new key for what is new.",
  );
}
