import { readEvidence, type Places } from "./evidence.ts";
import { findViolations, type Violation } from "./invariants.ts";

/** Reads what a run left behind and says which promises it broke; none, when all is well. */
export function check(places: Places, atMs = Date.now()): Violation[] {
  return findViolations(readEvidence(places, atMs));
}
