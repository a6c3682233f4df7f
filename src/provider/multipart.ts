import { randomUUID } from "node:crypto";
import type { CallName } from "./calls.ts";
import { type FileToSend, type Piece, stream, type Streamed } from "./sending.ts";

/** A document to upload. */
export interface UploadFile extends Omit<FileToSend, "contentType"> {
  /** "hash": JSON that describes a digest to sign, instead of a PDF. @source docs/provider.md §Hash */
  kind?: "pdf" | "hash" | undefined;
}

/** A part of a form: a value, or a file. */
export type Part = { name: string } & ({ value: string } | { file: FileToSend });

/**
 * The form's names of the parts: "file", "file2", "file3", … for PDFs; "hashfile" for a hash, of which a form has one.
 * @source docs/provider.md §Upload
 */
export function partNames(files: readonly UploadFile[]): string[] {
  let pdfs = 0;
  return files.map(({ kind }) => (kind === "hash" ? "hashfile" : ++pdfs === 1 ? "file" : `file${pdfs}`));
}

/**
 * A file name as it may stand between the quotes of Content-Disposition. UTF-8 as it is; quote, backslash and control
 * characters percent-encoded, so that no name can end the quotes or the line.
 * @source RFC 7578 §4.2 and §5.1
 */
export function quoteFilename(name: string): string {
  const escaped = name
    .toWellFormed()
    .replaceAll(/[\p{Cc}"\\\u2028\u2029]/gu, (character) => encodeURIComponent(character));
  return `"${escaped}"`;
}

/** The documents as one multipart/form-data body of known length, read from the files while it is sent. */
export function toMultipart(files: readonly UploadFile[]): Streamed {
  const names = partNames(files);
  const toPart = (file: UploadFile, index: number): Part => ({
    name: names[index] as string,
    file: {
      name: file.name,
      contentType: file.kind === "hash" ? "application/json" : "application/pdf",
      sizeBytes: file.sizeBytes,
      sha256: file.sha256,
      open: () => file.open(),
    },
  });
  return toForm("upload", files.map(toPart));
}

/** Parts as one multipart/form-data body. @source RFC 7578 */
export function toForm(call: CallName, parts: readonly Part[]): Streamed {
  const boundary = `signpipe-${randomUUID()}`;
  const pieces = parts.flatMap((part, index): Piece[] => {
    const start = `${index === 0 ? "" : "\r\n"}--${boundary}\r\nContent-Disposition: form-data; name="${part.name}"`;
    if ("value" in part) return [Buffer.from(`${start}\r\n\r\n${part.value.toWellFormed()}`)];
    const { file } = part;
    const head = `${start}; filename=${quoteFilename(file.name)}\r\nContent-Type: ${toType(file.contentType)}\r\n\r\n`;
    return [Buffer.from(head), { file }];
  });
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  return stream(call, `multipart/form-data; boundary=${boundary}`, [...pieces, tail]);
}

/** A content type that cannot end its line. */
function toType(contentType: string): string {
  return /^[\w.+-]+\/[\w.+-]+$/.test(contentType) ? contentType : "application/octet-stream";
}
