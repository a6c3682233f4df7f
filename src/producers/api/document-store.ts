import { PermanentError } from "../../core/errors.ts";
import type { RequestId } from "../../core/request.ts";
import type { Appearances } from "../../files/appearances.ts";
import type { Documents } from "../../files/documents.ts";
import { writeDurably } from "../../files/durable.ts";
import { probeEnclosure } from "../../files/enclosure.ts";
import { checkSignable } from "../../files/signable.ts";
import type { DocumentStore, Received } from "./ports.ts";

/**
 * The store of documents as the API needs it. Files are named by their number: what a client calls them is for people.
 * Throws RetryableError "disk-full", PermanentError "file-empty", "file-too-large" and what
 * the check throws.
 */
export function toApiDocuments(
  documents: Documents,
  {
    maxBytes,
    room,
    appearances,
  }: { maxBytes: number; room: (bytes: number) => Promise<void>; appearances: Pick<Appearances, "fit"> },
): DocumentStore {
  async function take(id: RequestId, n: number, file: string, content: AsyncIterable<Uint8Array>): Promise<Received> {
    const dir = n === 1 ? await documents.beginUpload(id) : documents.folder(id);
    const { sizeBytes, sha256 } = await writeDurably({ dir, name: file, source: content, maxBytes, readBack: false });
    if (sizeBytes === 0) throw new PermanentError("The file is empty.", { code: "file-empty" });
    return { id: `${id}/${file}`, sizeBytes, sha256 };
  }

  return {
    room: (bytes) => room(bytes),
    receive: async (id, n, name, content) => ({ name, ...(await take(id, n, `${n}.pdf`, content)) }),
    receiveEnclosure: (id, n, content) => take(id, n, `enclosure-${n}`, content),
    async toEnclosure(received, role) {
      const contentType = await probeEnclosure(documents.path(received), role);
      return { ...received, name: role, contentType };
    },
    async check(document, format) {
      const { name } = document;
      return { ...document, ...(await checkSignable(documents.path(document), { name, format, maxBytes })) };
    },
    fit: (signature, stored) =>
      appearances.fit(
        signature,
        stored.map((document) => ({ path: documents.path(document), name: document.name })),
      ),
    accept: (id) => documents.endUpload(id),
    discard: (id) => documents.remove(id),
  };
}
