import type { Digest } from "../core/request.ts";
import type { Format } from "../core/signing.ts";
import { withContent } from "./content.ts";
import { HASH_FILE_BYTES, isHashFileName, readHashFile } from "./hash-file.ts";
import { checkSize, probePdf } from "./probe.ts";

/**
 * Tells whether a file that was handed in can be signed: as a PDF it must be one; where its hash is signed, it may be
 * anything. Of a hash file, to go by its name, the result is the digest that it gives. Throws PermanentError
 * "not-a-regular-file", "file-empty", "file-changed", "file-too-large" above `maxBytes`; for PDFs what probePdf throws,
 * for a hash file "hash-file-invalid".
 */
export async function checkSignable(
  path: string,
  { name, format, maxBytes }: { name: string; format: Format; maxBytes: number },
): Promise<{ digest?: Digest }> {
  if (format === "pades") {
    await probePdf(path, { maxBytes });
    return {};
  }
  return await withContent(path, async (content) => {
    checkSize(content, maxBytes);
    if (!isHashFileName(name)) return {};
    return { digest: readHashFile(await content.read(0, HASH_FILE_BYTES + 1)) };
  });
}
