import { createHash, randomUUID } from "node:crypto";
import { type Failure, isFailure, PermanentError, RetryableError } from "../core/errors.ts";
import { nameOf } from "./calls.ts";

/** A document to upload. It is opened when its turn comes and closed after it, whatever happens. */
export interface UploadFile {
  /** The name people gave it; any Unicode. */
  name: string;
  sizeBytes: number;
  /** Lower-case hex. When given, other bytes are not let through to the end of the upload. */
  sha256?: string | undefined;
  /** The bytes; blocks of 1 MiB are sent as they come. Let go of, as a `for await` does, when it is not read to its end. */
  open(): AsyncIterable<Buffer>;
  /** "hash": JSON that describes a digest to sign, instead of a PDF. @source docs/provider.md §Hash */
  kind?: "pdf" | "hash" | undefined;
}

export interface Multipart {
  contentType: string;
  contentLength: number;
  body: AsyncGenerator<Buffer, void, undefined>;
  /** Why the body broke off by itself: a file that changed, or could not be read. */
  failure(): Failure | undefined;
}

/** "file", "file2", "file3", …: the form's names of the parts. @source docs/provider.md §Upload */
export function partName(index: number): string {
  return index === 0 ? "file" : `file${index + 1}`;
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
export function toMultipart(files: readonly UploadFile[]): Multipart {
  const boundary = `signpipe-${randomUUID()}`;
  const heads = files.map((file, index) =>
    Buffer.from(
      `${index === 0 ? "" : "\r\n"}--${boundary}\r\n` +
        `Content-Disposition: form-data; name="${partName(index)}"; filename=${quoteFilename(file.name)}\r\n` +
        "Content-Type: application/pdf\r\n\r\n",
    ),
  );
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  let failure: Failure | undefined;

  async function* body(): AsyncGenerator<Buffer, void, undefined> {
    try {
      for (const [index, file] of files.entries()) {
        yield heads[index] as Buffer;
        yield* bytesOf(file, index);
      }
      yield tail;
    } catch (error) {
      failure = error instanceof PermanentError || isFailure(error, "lost-lease") ? error : unreadable(error);
      throw failure;
    }
  }

  return {
    contentType: `multipart/form-data; boundary=${boundary}`,
    contentLength:
      [...heads, tail].reduce((sum, part) => sum + part.length, 0) +
      files.reduce((sum, file) => sum + file.sizeBytes, 0),
    body: body(),
    failure: () => failure,
  };
}

/**
 * A file's bytes, checked against its size and digest. The check comes before the closing boundary is sent, so a
 * changed file breaks the upload off instead of completing it.
 */
async function* bytesOf(file: UploadFile, index: number): AsyncGenerator<Buffer, void, undefined> {
  const hash = file.sha256 === undefined ? undefined : createHash("sha256");
  let sentBytes = 0;
  for await (const chunk of file.open()) {
    sentBytes += chunk.length;
    if (sentBytes > file.sizeBytes) throw changed(index, "grew");
    hash?.update(chunk);
    yield chunk;
  }
  if (sentBytes !== file.sizeBytes) throw changed(index, "shrank");
  if (hash && hash.digest("hex") !== file.sha256?.toLowerCase()) throw changed(index, "is not what it was");
}

function changed(index: number, how: string): PermanentError {
  return new PermanentError(`${nameOf("upload")} was broken off: document ${index + 1} ${how} since it was taken in.`, {
    code: "document-changed",
    effect: "unknown",
  });
}

function unreadable(cause: unknown): RetryableError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown reason";
  const message = `${nameOf("upload")} was broken off: a document could not be read (${code}).`;
  return new RetryableError(message, { code: "document-unreadable", cause, effect: "unknown" });
}
