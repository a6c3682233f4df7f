/**
 * What the provider's ledger must say. Read from the ledger and the folder of results alone: nothing that signpipe
 * says of itself counts here.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Effect, type Entry } from "./server.ts";

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/**
 * Looks, at the very moment at which the provider deletes a signed file, whether the same bytes lie under their
 * final name in the folder of results.
 */
export function createWitness(signedDir: () => string) {
  const known = new Map<string, string>();
  const lost: string[] = [];
  let seen = 0;

  function isSafe(wanted: string): boolean {
    for (const [path, digest] of known) if (digest === wanted && sha256(readFileSync(path)) === wanted) return true;
    for (const folder of readdirSync(signedDir(), { withFileTypes: true })) {
      if (!folder.isDirectory()) continue;
      for (const name of readdirSync(join(signedDir(), folder.name))) {
        const path = join(signedDir(), folder.name, name);
        if (name.startsWith(".") || !/\.(pdf|p7m)$/.test(name) || known.has(path)) continue;
        known.set(path, sha256(readFileSync(path)));
        if (known.get(path) === wanted) return true;
      }
    }
    return false;
  }
  return {
    onEffect(entry: Entry): void {
      for (const file of entry.lost ?? []) {
        seen += 1;
        if (!isSafe(file.sha256))
          lost.push(`request ${entry.requestPk}: ${entry.effect} of ${file.uid} before its signed file was safe`);
      }
    },
    /** Deletions of signed files that were looked into. */
    seen: () => seen,
    lost: () => lost,
  };
}

export interface Expected {
  requestPk: number;
  documents: Buffer[];
  /** How often each effect has to be there; those that are not named must not be there at all. */
  effects: Partial<Record<Effect, number>>;
}

/** What is wrong, a sentence each. */
export function faultsIn(ledger: readonly Entry[], expected: readonly Expected[]): string[] {
  const faults: string[] = [];
  const strangers = new Set(ledger.map(({ requestPk }) => requestPk));
  for (const { requestPk, documents, effects } of expected) {
    strangers.delete(requestPk);
    const mine = ledger.filter((entry) => entry.requestPk === requestPk);
    const counts: Partial<Record<Effect, number>> = {};
    for (const { effect } of mine) counts[effect] = (counts[effect] ?? 0) + 1;
    for (const effect of new Set([...Object.keys(counts), ...Object.keys(effects)]) as Set<Effect>)
      if ((counts[effect] ?? 0) !== (effects[effect] ?? 0))
        faults.push(`request ${requestPk}: ${effect} ${counts[effect] ?? 0} times, not ${effects[effect] ?? 0}`);
    const uploads = mine.filter(({ effect }) => effect === "upload").map((entry) => entry.sha256 ?? "");
    const wanted = (effects.upload ?? 0) === 0 ? [] : documents.map(sha256);
    if (uploads.sort().join() !== wanted.sort().join())
      faults.push(`request ${requestPk}: its uploads are not its documents`);
    const at = (effect: Effect): number => mine.findIndex((entry) => entry.effect === effect);
    const order = (["create", "approve", "upload", "otp", "sign", "delete"] as const)
      .map(at)
      .filter((index) => index >= 0);
    if (order.some((index, nth) => nth > 0 && index < (order[nth - 1] ?? 0)))
      faults.push(`request ${requestPk}: ${mine.map(({ effect }) => effect).join(", ")} is not the order`);
  }
  for (const pk of strangers) faults.push(`request ${pk} is nobody's`);
  return faults;
}
