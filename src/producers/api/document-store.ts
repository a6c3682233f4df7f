import { PermanentError } from "../../core/errors.ts";
import type { Documents } from "../../files/documents.ts";
import { writeDurably } from "../../files/durable.ts";
import { checkSignable } from "../../files/signable.ts";
import type { DocumentStore } from "./ports.ts";

/**
 * The store of documents as the API needs it. Files are named by their number: what a client calls them is for people.
 * Throws RetryableError "disk-full", PermanentError "file-empty", "file-too-large" and what
 * the check throws.
 */
export function toApiDocuments(
  documents: Documents,
  { maxBytes, room }: { maxBytes: number; room: (bytes: number) => Promise<void> },
): DocumentStore {
  return {
    room: (bytes) => room(bytes),
    async receive(id, n, name, content) {
      const dir = n === 1 ? await documents.beginUpload(id) : documents.folder(id);
      const file = `${n}.pdf`;
      const { sizeBytes, sha256 } = await writeDurably({ dir, name: file, source: content, maxBytes, readBack: false });
      if (sizeBytes === 0) throw new PermanentError("The file is empty.", { code: "file-empty" });
      return { id: `${id}/${file}`, name, sizeBytes, sha256 };
    },
    async check(document, format) {
      const { name } = document;
      return { ...document, ...(await checkSignable(documents.path(document), { name, format, maxBytes })) };
    },
    accept: (id) => documents.endUpload(id),
    discard: (id) => documents.remove(id),
  };
}
