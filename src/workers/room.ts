import type { Format } from "../core/signing.ts";

/** A signed PDF is its original and more: the signature, its appearance, certificates. */
const GROWTH = 1.5;
/** A signature apart, with its certificates and its timestamp, in bytes; real ones have some ten thousand. */
const APART_BYTES = 65_536;

/** Room that what comes back for the documents will need, in bytes. */
export function roomFor(documents: readonly { sizeBytes: number }[], format: Format): number {
  if (format === "cms") return documents.length * APART_BYTES;
  return Math.ceil(documents.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) * GROWTH);
}
