/** A signed PDF is its original and more: the signature, its appearance, certificates. */
const GROWTH = 1.5;

/** Room that the signed documents will need, in bytes. */
export function roomFor(documents: readonly { sizeBytes: number }[]): number {
  return Math.ceil(documents.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) * GROWTH);
}
