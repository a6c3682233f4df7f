import { withCall } from "../core/calls.ts";
import type { SignRequest } from "../core/request.ts";
import type { Change } from "./store.ts";

/**
 * The same decision, with the print of the caller's Idempotency-Key in what it writes. The act and the key are one write:
 * whoever repeats a call whose process died after it finds that it was done.
 */
export function under(
  call: string | undefined,
  decide: (request: SignRequest) => Change,
): (request: SignRequest) => Change {
  if (call === undefined) return decide;
  return (request) => {
    const change = decide(request);
    const facts = { ...change.patch?.facts, calls: withCall(request, call) };
    return { ...change, patch: { ...change.patch, facts } };
  };
}
