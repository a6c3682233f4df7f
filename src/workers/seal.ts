import { createHash } from "node:crypto";
import { isFailure } from "../core/errors.ts";
import type { Format, RequestPk } from "../core/signing.ts";
import { passedOn } from "../files/garbage.ts";
import { digestOf, HASH_FILE_BYTES, readHashFile } from "../files/hash-file.ts";
import type { Provider } from "../provider/client.ts";
import type { Uploaded } from "./upload.ts";

export type Seal = ReturnType<typeof createSeal>;

/**
 * Looks whether the provider holds what was uploaded, byte by byte, before anybody is asked to sign it.
 *
 * There is no call that lists a request's documents: each expected one is fetched and hashed. Whether originals can be
 * fetched at all depends on the provider's version; where none ever could, the answer is "unserved", and the uids of
 * the upload are all there is. That nothing else is there is the upload's business: it empties the request first, and
 * tells of one that came through too late.
 *
 * Of a hash, the digest is compared, since how the provider keeps the rest of what it was given is its own business.
 * What is no hash file at all cannot be compared, and stops nobody.
 * @source docs/provider.md §Signed documents, §Hash
 */
export function createSeal({ provider, incremental }: { provider: Provider; incremental: boolean }) {
  let served = false;
  let hashesServed = false;

  async function hashOf(requestPk: RequestPk, uid: Uploaded["uid"], signal: AbortSignal): Promise<string | undefined> {
    try {
      const { body } = await provider.originalDocument(requestPk, uid, { signal });
      const hash = createHash("sha256");
      for await (const chunk of body) {
        const bytes = chunk as Uint8Array;
        hash.update(bytes);
        passedOn(bytes.length);
      }
      served = true;
      return hash.digest("hex");
    } catch (error) {
      if (!isFailure(error, "not-found", "call-unknown")) throw error;
      return undefined;
    }
  }

  /** Whether the provider has the digest that it was given; "missing" when it has nothing, "mute" when it does not tell. */
  async function digestThere(requestPk: RequestPk, document: Uploaded, signal: AbortSignal) {
    try {
      const { body } = await provider.originalDocument(requestPk, document.uid, { kind: "hash", signal });
      let bytes: Buffer = Buffer.alloc(0);
      for await (const chunk of body) {
        bytes = Buffer.concat([bytes, chunk as Uint8Array]);
        if (bytes.length > HASH_FILE_BYTES) break;
      }
      const [found, sent] = [readHashFile(bytes), digestOf(document)];
      hashesServed = true;
      return found.algorithm === sent.algorithm && found.value === sent.value ? "same" : "other";
    } catch (error) {
      if (isFailure(error, "unexpected-answer", "hash-file-invalid")) return "mute";
      if (!isFailure(error, "not-found", "call-unknown")) throw error;
      return "missing";
    }
  }

  async function checkHashes(requestPk: RequestPk, uploaded: readonly Uploaded[], signal: AbortSignal) {
    const found = new Set<string>();
    for (const document of uploaded) found.add(await digestThere(requestPk, document, signal));
    if (found.has("other") || (found.has("missing") && hashesServed)) return "broken";
    return found.has("missing") || found.has("mute") ? "unserved" : "intact";
  }

  return {
    /** "broken": a document is missing, or is another one. Throws what the provider's calls throw. */
    async check(
      requestPk: RequestPk,
      uploaded: readonly Uploaded[],
      signal: AbortSignal,
      format: Format = "pades",
    ): Promise<"intact" | "broken" | "unserved"> {
      if (format === "cms") return await checkHashes(requestPk, uploaded, signal);
      let missing = 0;
      for (const { uid, sha256 } of uploaded) {
        const found = await hashOf(requestPk, uid, signal);
        if (found === undefined) missing += 1;
        // A provider that rewrites PDFs as they come in never has the very bytes.
        else if (incremental && found !== sha256) return "broken";
      }
      if (missing === 0) return "intact";
      return served ? "broken" : "unserved";
    },
  };
}
