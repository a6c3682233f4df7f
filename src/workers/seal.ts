import { createHash } from "node:crypto";
import { dirname } from "node:path";
import { isFailure } from "../core/errors.ts";
import type { Format, RequestPk } from "../core/signing.ts";
import { documentGone, type Documents } from "../files/documents.ts";
import { isMissing, withPassing } from "../files/durable.ts";
import { passedOn } from "../files/garbage.ts";
import { digestOf, HASH_FILE_BYTES, readHashFile } from "../files/hash-file.ts";
import { type By, compareRewritten } from "../files/rewritten.ts";
import type { Space } from "../files/space.ts";
import type { Provider } from "../provider/client.ts";
import { roomFor } from "./room.ts";
import type { Uploaded } from "./upload.ts";

export type Seal = ReturnType<typeof createSeal>;

/** For the pages of all documents of a request: half of what the stage has. */
const COMPARE_MS = 300_000;

interface Parts {
  provider: Pick<Provider, "originalDocument">;
  documents: Pick<Documents, "path">;
  space: Pick<Space, "book">;
  /** The provider keeps the bytes that it is sent. */
  incremental: boolean;
  /** How a document is recognised that the provider has rewritten. */
  compare: By;
}

/**
 * Looks whether the provider holds what was uploaded, byte by byte, before anybody is asked to sign it. One that
 * rewrites PDFs as they come in never has the very bytes: then it is looked whether its documents show what was
 * uploaded; see compareRewritten.
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
export function createSeal({ provider, documents, space, incremental, compare }: Parts) {
  let served = false;
  let hashesServed = false;

  async function hasTheBytes(requestPk: RequestPk, { uid, sha256 }: Uploaded, signal: AbortSignal): Promise<boolean> {
    const { body } = await provider.originalDocument(requestPk, uid, { signal });
    const hash = createHash("sha256");
    for await (const chunk of body) {
      const bytes = chunk as Uint8Array;
      hash.update(bytes);
      passedOn(bytes.length);
    }
    return hash.digest("hex") === sha256;
  }

  async function showsTheSame(
    requestPk: RequestPk,
    document: Uploaded,
    { signal, withinMs }: { signal: AbortSignal; withinMs: number },
  ): Promise<boolean> {
    const path = documents.path(document);
    const booking = await space.book(roomFor([document], "pades"));
    try {
      const { body } = await provider.originalDocument(requestPk, document.uid, { signal });
      return await withPassing(dirname(path), body, async (found, sha256) => {
        if (sha256 === document.sha256) return true;
        return (await compareRewritten({ ...document, path }, found, { by: compare, signal, withinMs })).isSame;
      });
    } catch (cause) {
      if (!isMissing(cause)) throw cause;
      throw documentGone(cause);
    } finally {
      booking.release();
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
    /**
     * "broken": a document is missing, or is another one. Throws what the provider's calls throw; where documents are
     * compared by what they show, also what withPassing and compareRewritten throw, and RetryableError "disk-full".
     */
    async check(
      requestPk: RequestPk,
      uploaded: readonly Uploaded[],
      signal: AbortSignal,
      format: Format = "pades",
    ): Promise<"intact" | "broken" | "unserved"> {
      if (format === "cms") return await checkHashes(requestPk, uploaded, signal);
      const withinMs = COMPARE_MS / uploaded.length;
      let missing = 0;
      for (const document of uploaded) {
        try {
          const isSame = incremental
            ? await hasTheBytes(requestPk, document, signal)
            : await showsTheSame(requestPk, document, { signal, withinMs });
          served = true;
          if (!isSame) return "broken";
        } catch (error) {
          if (!isFailure(error, "not-found", "call-unknown")) throw error;
          missing += 1;
        }
      }
      if (missing === 0) return "intact";
      return served ? "broken" : "unserved";
    },
  };
}
