import { Readable } from "node:stream";
import { PermanentError, RetryableError } from "../core/errors.ts";
import { nameOf } from "./calls.ts";
import type { Http, Opened, Sending } from "./http.ts";

const READ_AHEAD_BYTES = 1024 * 1024;

/** What a download has to be. */
export type Expected = "pdf" | "cms" | "hash" | "png" | "video";

/** How a file is known by its first bytes: within how many, as one character each. */
const LOOKS: Record<Expected, { withinBytes: number; isFile: (first: string) => boolean }> = {
  // Readers look for the header within a kilobyte; a signed document keeps what its original had before it. An error's
  // JSON or HTML may well speak of "%PDF-": only at the very start is that beyond doubt.
  pdf: {
    withinBytes: 1_024,
    isFile: (first) => first.startsWith("%PDF-") || (first.includes("%PDF-") && !isText(first)),
  },
  cms: {
    withinBytes: 17,
    isFile: (first) => first.startsWith("0") && first.startsWith(SIGNED_DATA, afterLength(first)),
  },
  hash: { withinBytes: 4_096, isFile: (first) => /^\s*\{[^]*"messageDigest"\s*:\s*"/.test(first) },
  png: { withinBytes: 8, isFile: (first) => first.startsWith("\x89PNG\r\n\x1a\n") },
  // Any format will do, and each has bytes that no text has.
  video: {
    withinBytes: 64,
    isFile: (first) => !isText(first) && [...first].some((byte) => byte < "\t" || (byte > "\r" && byte < "\x1b")),
  },
};

/** The OID with which a SEQUENCE of signed data begins. @source RFC 5652 §3 and §5.1 */
const SIGNED_DATA = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";

/** Where the content of an element begins, whose length may take several bytes. @source ITU-T X.690 §8.1.3 */
function afterLength(first: string): number {
  const length = first.charCodeAt(1);
  return 2 + (length > 0x80 ? length - 0x80 : 0);
}

function isText(first: string): boolean {
  return /^(\xEF\xBB\xBF)?\s*[{[<"]/.test(first);
}

/** A file on its way in. The stream must be read to its end or destroyed. */
export interface Download {
  /**
   * Begins as a file of its kind does; a PDF has `%PDF-` within its first kilobyte. Errors with RetryableError "truncated" when it ends early, "no-answer" when the provider falls
   * silent, and PermanentError "too-large" beyond the limit. A body without a declared length that is cut short cannot
   * be told from a whole one here: the reader must look for the end of the file.
   */
  body: Readable;
  declaredBytes?: number;
}

/**
 * Fetches a file, and hands it out once its status and first bytes have shown that it is what was expected; the
 * Content-Type is not relied on. Throws what the ANSWERS table says, PermanentError "too-large", and RetryableError
 * "unexpected-answer" when it is something else.
 * @source docs/provider.md §Downloads
 */
export async function download(
  http: Http,
  sending: Sending,
  { expected, maxBytes }: { expected: Expected; maxBytes: number },
): Promise<Download> {
  const opened = await http.open(sending);
  if (opened.status !== 200) return http.refuse(sending, opened);
  const declaredBytes = toLength(opened);
  if (declaredBytes !== undefined && declaredBytes > maxBytes) {
    opened.close();
    opened.body.on("error", () => {}).destroy();
    throw tooLarge(sending, maxBytes);
  }
  const chunks = opened.body.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer, undefined>;
  const { withinBytes, isFile } = LOOKS[expected];
  const looksRight = (bytes: Buffer) => isFile(bytes.toString("latin1", 0, withinBytes));
  const first = await head(chunks, opened, (bytes) => bytes.length >= withinBytes || looksRight(bytes));
  if (!looksRight(first)) return http.refuse(sending, opened, first);
  const body = checked(first, { sending, opened, chunks, declaredBytes, maxBytes });
  return { body, ...(declaredBytes !== undefined && { declaredBytes }) };
}

/** The bytes in which the header has to be: until that is decided, or all there are. */
async function head(
  chunks: AsyncIterator<Buffer, undefined>,
  { close, broken }: Opened,
  isDecided: (first: Buffer) => boolean,
): Promise<Buffer> {
  let first: Buffer = Buffer.alloc(0);
  try {
    while (!isDecided(first)) {
      const chunk = await take(chunks);
      if (!chunk) return first;
      first = first.length === 0 ? chunk : Buffer.concat([first, chunk]);
    }
    return first;
  } catch (error) {
    close();
    throw broken(error);
  }
}

async function take(chunks: AsyncIterator<Buffer, undefined>): Promise<Buffer | undefined> {
  const { done, value } = await chunks.next();
  return done ? undefined : value;
}

interface Incoming {
  sending: Sending;
  opened: Opened;
  chunks: AsyncIterator<Buffer, undefined>;
  declaredBytes: number | undefined;
  maxBytes: number;
}

function checked(first: Buffer, { sending, opened, chunks, declaredBytes, maxBytes }: Incoming): Readable {
  let pending: Buffer | undefined = first;
  let receivedBytes = 0;

  /** undici reports a body shorter than its Content-Length as a socket error; here it gets its own name. */
  const broken = (error: unknown) => {
    const failure = opened.broken(error);
    const cut = declaredBytes !== undefined && receivedBytes < declaredBytes && isHangUp(error);
    return cut ? truncated(sending, receivedBytes, declaredBytes, error) : failure;
  };

  async function next(out: Readable): Promise<void> {
    try {
      const chunk = pending ?? (await take(chunks));
      pending = undefined;
      receivedBytes += chunk?.length ?? 0;
      if (receivedBytes > maxBytes) throw tooLarge(sending, maxBytes);
      if (!chunk && declaredBytes !== undefined && receivedBytes !== declaredBytes) {
        throw truncated(sending, receivedBytes, declaredBytes);
      }
      out.push(chunk ?? null);
    } catch (error) {
      out.destroy(error instanceof RetryableError || error instanceof PermanentError ? error : broken(error));
    }
  }

  return new Readable({
    highWaterMark: READ_AHEAD_BYTES,
    read() {
      void next(this);
    },
    destroy(error, done) {
      opened.close();
      opened.body.on("error", () => {}).destroy();
      done(error);
    },
  });
}

function isHangUp(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return ["UND_ERR_SOCKET", "ECONNRESET", "UND_ERR_RES_CONTENT_LENGTH_MISMATCH", "EPIPE"].includes(code as string);
}

function truncated({ call }: Sending, got: number, declared: number, cause?: unknown): RetryableError {
  const message = `${nameOf(call)} broke off after ${got} of ${declared} bytes`;
  return new RetryableError(message, { code: "truncated", effect: "none", cause });
}

function tooLarge({ call }: Sending, maxBytes: number): PermanentError {
  return new PermanentError(`${nameOf(call)} gives more than the ${maxBytes} bytes allowed for a file`, {
    code: "too-large",
  });
}

function toLength({ headers }: Opened): number | undefined {
  const text = headers["content-length"];
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
