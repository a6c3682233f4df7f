import { createHash } from "node:crypto";
import { PermanentError } from "../core/errors.ts";
import type { StoredDocument } from "../core/request.ts";
import { toHashFile } from "../files/hash-file.ts";
import type { UploadFile } from "../provider/multipart.ts";
import { whileOurs } from "./ours.ts";
import type { Tools } from "./stage.ts";

/**
 * What the provider is given of the `index`th document in the place of its bytes: a hash file that was handed in, as it
 * is, or one with the document's SHA-256. The document is read once more before: without the very bytes, its signature
 * would be worth nothing. Throws PermanentError "document-changed", and what opening the document throws.
 * @source docs/provider.md §Hash
 */
export async function toHashUpload(
  document: StoredDocument,
  index: number,
  { documents, isOurs }: Pick<Tools, "documents"> & { isOurs: () => boolean },
): Promise<UploadFile> {
  // Its name tells nothing: what was handed in may be called after a person, and only hashes leave here.
  const name = `${index + 1}.hash.json`;
  const open = () => whileOurs(documents.open(document), isOurs);
  if (document.digest) {
    const { sizeBytes, sha256 } = document;
    return { name, kind: "hash", sizeBytes, sha256, open };
  }
  const hash = createHash("sha256");
  for await (const block of open()) hash.update(block);
  if (hash.digest("hex") !== document.sha256) {
    throw new PermanentError(`Document ${index + 1} is not what it was since it was taken in`, {
      code: "document-changed",
    });
  }
  const bytes = toHashFile(document.sha256);
  return { name, kind: "hash", sizeBytes: bytes.length, open: () => once(bytes) };
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer, void, undefined> {
  yield bytes;
}
