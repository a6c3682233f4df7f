import { callLike, withCall } from "../core/calls.ts";
import { PermanentError } from "../core/errors.ts";
import type { SignRequest } from "../core/request.ts";
import type { Change } from "./store.ts";

/**
 * The same decision, with the print of the caller's Idempotency-Key in what it writes. The act and the key are one write:
 * whoever repeats a call whose process died after it finds that it was done. Throws PermanentError
 * "idempotency-in-progress" when it was done since: a process that stood still has lost its claim to another one, and would
 * do it a second time; and "idempotency-mismatch" when something else was done under the key.
 */
export function under(
  call: string | undefined,
  decide: (request: SignRequest) => Change,
): (request: SignRequest) => Change {
  if (call === undefined) return decide;
  return (request) => {
    const same = callLike(request, call);
    if (same !== undefined) throw doneSince(same === call);
    const change = decide(request);
    const facts = { ...change.patch?.facts, calls: withCall(request, call) };
    return { ...change, patch: { ...change.patch, facts } };
  };
}

function doneSince(isSame: boolean): PermanentError {
  if (isSame) {
    const message = "Another call with this Idempotency-Key was faster; repeat it to get its answer";
    return new PermanentError(message, { code: "idempotency-in-progress" });
  }
  const message = "This Idempotency-Key was used for another call, or with another body; use a new key for what is new";
  return new PermanentError(message, { code: "idempotency-mismatch" });
}
