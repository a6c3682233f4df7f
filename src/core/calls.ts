import { z } from "zod";
import type { SignRequest } from "./request.ts";

/** How many are kept of each request; a key is remembered in Redis as well. */
const KEPT = 20;
const Prints = z.array(z.string()).catch([]);

/** The prints of the Idempotency-Keys under which something was done to a request, oldest first. */
function callsOf({ facts }: Pick<SignRequest, "facts">): string[] {
  return Prints.parse(facts["calls"]);
}

/** The same with one more; the oldest go. */
export function withCall(request: Pick<SignRequest, "facts">, print: string): string[] {
  return [...callsOf(request), print].slice(-KEPT);
}

/** The print in the record that is of the same key as this one; with the same body, it is the same. */
export function callLike(request: Pick<SignRequest, "facts">, print: string): string | undefined {
  return callsOf(request).find((one) => keyOf(one) === keyOf(print));
}

/** The half of a print that is about the key alone. */
const keyOf = (print: string): string => print.split(".", 1)[0] ?? "";
