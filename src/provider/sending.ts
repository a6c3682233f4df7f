import { createHash } from "node:crypto";
import { type Failure, isFailure, PermanentError, RetryableError } from "../core/errors.ts";
import { type CallName, nameOf } from "./calls.ts";

/** A file to send. It is opened when its turn comes and closed after it, whatever happens. */
export interface FileToSend {
  /** The name people gave it; any Unicode. */
  name: string;
  contentType: string;
  sizeBytes: number;
  /** Lower-case hex. When given, other bytes are not let through to the end of the call. */
  sha256?: string | undefined;
  /** The bytes; blocks of 1 MiB are sent as they come. Let go of, as a `for await` does, when it is not read to its end. */
  open(): AsyncIterable<Buffer>;
}

/** A body of known length that is made while it is sent. */
export interface Streamed {
  contentType: string;
  contentLength: number;
  body: AsyncGenerator<Buffer, void, undefined>;
  /** Why the body broke off by itself: a file that changed, or could not be read. */
  failure(): Failure | undefined;
}

/** Bytes as they are, or a file, as it is or in Base64. */
export type Piece = Buffer | { file: Pick<FileToSend, "sizeBytes" | "sha256" | "open">; as?: "base64" };

/**
 * The pieces as one body, of which no more than a block is in memory. A file whose bytes are not those of its size and
 * digest breaks it off before the last piece, so that the call is not completed: PermanentError "document-changed". One
 * that cannot be read does as well: RetryableError "document-unreadable".
 */
export function stream(call: CallName, contentType: string, pieces: readonly Piece[]): Streamed {
  let failure: Failure | undefined;

  async function* body(): AsyncGenerator<Buffer, void, undefined> {
    let nth = 0;
    try {
      for (const piece of pieces) {
        if (Buffer.isBuffer(piece)) yield piece;
        else if (piece.as === "base64") yield* toBase64(bytesOf(call, piece.file, ++nth));
        else yield* bytesOf(call, piece.file, ++nth);
      }
    } catch (error) {
      failure = error instanceof PermanentError || isFailure(error, "lost-lease") ? error : unreadable(call, error);
      throw failure;
    }
  }

  return {
    contentType,
    contentLength: pieces.reduce((sum, piece) => sum + lengthOf(piece), 0),
    body: body(),
    failure: () => failure,
  };
}

function lengthOf(piece: Piece): number {
  if (Buffer.isBuffer(piece)) return piece.length;
  const { sizeBytes } = piece.file;
  return piece.as === "base64" ? 4 * Math.ceil(sizeBytes / 3) : sizeBytes;
}

/** A file's bytes, checked against its size and digest. */
async function* bytesOf(
  call: CallName,
  file: Pick<FileToSend, "sizeBytes" | "sha256" | "open">,
  nth: number,
): AsyncGenerator<Buffer, void, undefined> {
  const { sizeBytes, sha256 } = file;
  const hash = sha256 === undefined ? undefined : createHash("sha256");
  let sentBytes = 0;
  for await (const chunk of file.open()) {
    sentBytes += chunk.length;
    if (sentBytes > sizeBytes) throw changed(call, nth, "grew");
    hash?.update(chunk);
    yield chunk;
  }
  if (sentBytes !== sizeBytes) throw changed(call, nth, "shrank");
  if (hash && hash.digest("hex") !== sha256?.toLowerCase()) throw changed(call, nth, "is not what it was");
}

/** Groups of three bytes become four characters: what is left of a block goes with the next one. */
async function* toBase64(blocks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const block of blocks) {
    const bytes = rest.length === 0 ? block : Buffer.concat([rest, block]);
    const whole = bytes.length - (bytes.length % 3);
    if (whole > 0) yield Buffer.from(bytes.toString("base64", 0, whole), "latin1");
    // A copy: whoever reads the file may use its block again.
    rest = Buffer.from(bytes.subarray(whole));
  }
  if (rest.length > 0) yield Buffer.from(rest.toString("base64"), "latin1");
}

function changed(call: CallName, nth: number, how: string): PermanentError {
  return new PermanentError(`${nameOf(call)} was broken off: file ${nth} ${how} since it was taken in.`, {
    code: "document-changed",
    effect: "unknown",
  });
}

function unreadable(call: CallName, cause: unknown): RetryableError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown reason";
  const message = `${nameOf(call)} was broken off: a file could not be read (${code}).`;
  return new RetryableError(message, { code: "document-unreadable", cause, effect: "unknown" });
}
