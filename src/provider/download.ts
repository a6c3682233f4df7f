import { Readable } from "node:stream";
import { PermanentError, RetryableError } from "../core/errors.ts";
import { nameOf } from "./calls.ts";
import type { Http, Opened, Sending } from "./http.ts";

const MAGIC = "%PDF-";
/** Readers look for the header within this many bytes; a signed document keeps what its original had before it. */
const HEADER_WITHIN_BYTES = 1_024;
const READ_AHEAD_BYTES = 1024 * 1024;

/** A PDF on its way in. The stream must be read to its end or destroyed. */
export interface Download {
  /**
   * Has `%PDF-` within its first kilobyte. Errors with RetryableError "truncated" when it ends early, "no-answer" when the provider falls
   * silent, and PermanentError "too-large" beyond the limit. A body without a declared length that is cut short cannot
   * be told from a whole one here: the reader must look for the end of the PDF.
   */
  body: Readable;
  declaredBytes?: number;
}

/**
 * Fetches a PDF, and hands it out once its status and first bytes have shown that it is one; the Content-Type is not
 * relied on. Throws what the ANSWERS table says, and RetryableError "unexpected-answer" when it is something else.
 * @source docs/provider.md §Downloads
 */
export async function download(http: Http, sending: Sending, maxBytes: number): Promise<Download> {
  const opened = await http.open(sending);
  if (opened.status !== 200) return http.refuse(sending, opened);
  const declaredBytes = toLength(opened);
  if (declaredBytes !== undefined && declaredBytes > maxBytes) {
    opened.close();
    opened.body.on("error", () => {}).destroy();
    throw tooLarge(sending, maxBytes);
  }
  const chunks = opened.body.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer, undefined>;
  const first = await head(chunks, opened);
  if (!looksLikePdf(first)) return http.refuse(sending, opened, first);
  const body = checked(first, { sending, opened, chunks, declaredBytes, maxBytes });
  return { body, ...(declaredBytes !== undefined && { declaredBytes }) };
}

/** An error's JSON or HTML may well speak of "%PDF-": only at the very start is that beyond doubt. */
function looksLikePdf(first: Buffer): boolean {
  const text = first.toString("latin1", 0, HEADER_WITHIN_BYTES);
  return text.startsWith(MAGIC) || (text.includes(MAGIC) && !/^(\xEF\xBB\xBF)?\s*[{[<"]/.test(text));
}

/** The bytes in which the header has to be: up to it, or as many as it may be away, or all there are. */
async function head(chunks: AsyncIterator<Buffer, undefined>, { close, broken }: Opened): Promise<Buffer> {
  let first: Buffer = Buffer.alloc(0);
  try {
    while (first.length < HEADER_WITHIN_BYTES && !first.includes(MAGIC)) {
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
  return new PermanentError(`${nameOf(call)} gives more than the ${maxBytes} bytes allowed for a document`, {
    code: "too-large",
  });
}

function toLength({ headers }: Opened): number | undefined {
  const text = headers["content-length"];
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
