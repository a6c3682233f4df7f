import { randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import type { Sending } from "./calls.ts";
import { SignpipeError } from "./error.ts";
import type { DocumentByAddress } from "./schema.ts";

/** Read in blocks of this, in bytes, however large the file is. */
const BLOCK_BYTES = 256 * 1024;

/** The bytes of a document. A function gives them anew each time, so that a submission can be repeated. */
export type Content = Uint8Array | Blob | AsyncIterable<Uint8Array> | (() => AsyncIterable<Uint8Array>);

/**
 * A document that is sent: the path of a file, or bytes with a name. A stream can be sent once: a submission that was
 * under way with one is not repeated by itself.
 */
export type DocumentSent = string | { path: string; name?: string | undefined } | { content: Content; name: string };

interface Part {
  field: string;
  name: string;
  /** For errors, which have no file names in them: these may be personal. */
  label: string;
  /** undefined when only its end tells. */
  sizeBytes: number | undefined;
  open(): AsyncIterable<Uint8Array>;
  /** A stream that can be read once. */
  isOneTime: boolean;
}

export function isByAddress(document: DocumentSent | DocumentByAddress): document is DocumentByAddress {
  return typeof document === "object" && "url" in document;
}

/** What is sent in one field of a form. */
export interface Field {
  field: string;
  /** What the nth of them is called in errors. */
  label: (n: number) => string;
  files: readonly DocumentSent[];
}

/**
 * Values, as JSON, and files as multipart/form-data, the files read while they are sent. Rejects with SignpipeError
 * "document-unreadable" before anything is sent.
 * @source RFC 7578 §4
 */
export async function toMultipart(values: Record<string, unknown>, fields: readonly Field[]): Promise<Sending> {
  const parts = await Promise.all(
    fields.flatMap(({ field, label, files }) => files.map((file, i) => toPart(field, label(i + 1), file))),
  );
  const boundary = `signpipe-${randomUUID()}`;
  const head = Buffer.from(
    Object.entries(values)
      .map(
        ([name, value]) =>
          `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n` +
          `Content-Type: application/json\r\n\r\n${JSON.stringify(value)}`,
      )
      .join("\r\n"),
  );
  const heads = parts.map(({ field, name }, i) =>
    Buffer.from(
      `${head.length === 0 && i === 0 ? "" : "\r\n"}--${boundary}\r\nContent-Disposition: form-data; name="${field}"; filename="${quoted(name)}"\r\n` +
        `Content-Type: ${/\.pdf$/i.test(name) ? "application/pdf" : "application/octet-stream"}\r\n\r\n`,
    ),
  );
  const end = Buffer.from(`\r\n--${boundary}--\r\n`);
  const sizes = [head.length, end.length, ...heads.map(({ length }) => length), ...parts.map((part) => part.sizeBytes)];
  const isKnown = sizes.every((size) => size !== undefined);
  const totalBytes = isKnown ? sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0) : undefined;

  let isBegun = false;
  let failure: unknown;
  async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    isBegun = true;
    failure = undefined;
    try {
      yield head;
      for (const [i, part] of parts.entries()) {
        yield heads[i] as Buffer;
        yield* whole(part);
      }
      yield end;
    } catch (error) {
      failure = error;
      throw error;
    }
  }

  return {
    headers: {
      "content-type": `multipart/form-data; boundary=${boundary}`,
      ...(totalBytes !== undefined && { "content-length": String(totalBytes) }),
    },
    open: () => toStream(bytes()),
    isRepeatable: () => !isBegun || parts.every(({ isOneTime }) => !isOneTime),
    failure: () => failure,
  };
}

/** The bytes of a part, which must be as many as were announced: what is cut off is never sent as if it were whole. */
async function* whole(part: Part): AsyncGenerator<Uint8Array> {
  let sizeBytes = 0;
  for await (const chunk of part.open()) {
    sizeBytes += chunk.byteLength;
    if (part.sizeBytes !== undefined && sizeBytes > part.sizeBytes) break;
    if (chunk.byteLength > 0) yield chunk;
  }
  if (part.sizeBytes === undefined || sizeBytes === part.sizeBytes) return;
  throw new SignpipeError(
    "document-changed",
    `${part.label} changed while it was sent: submit it once it is complete.`,
  );
}

async function toPart(field: string, label: string, document: DocumentSent): Promise<Part> {
  if (typeof document === "string") return await toPart(field, label, { path: document });
  if ("content" in document) return { field, label, name: document.name, ...ofContent(document.content) };
  const { path, name = basename(path) } = document;
  const found = await stat(path).catch((error: unknown) => {
    const errno = (error as NodeJS.ErrnoException).code ?? "error";
    throw new SignpipeError("document-unreadable", `${label} cannot be read (${errno}): look at its path.`);
  });
  if (!found.isFile()) throw new SignpipeError("document-unreadable", `${label} is not a file: look at its path.`);
  const open = () => createReadStream(path, { highWaterMark: BLOCK_BYTES }) as AsyncIterable<Uint8Array>;
  return { field, label, name, sizeBytes: found.size, open, isOneTime: false };
}

function ofContent(content: Content): Pick<Part, "sizeBytes" | "open" | "isOneTime"> {
  if (content instanceof Uint8Array) {
    return { sizeBytes: content.byteLength, open: () => only(content), isOneTime: false };
  }
  if (content instanceof Blob) {
    const open = () => content.stream() as unknown as AsyncIterable<Uint8Array>;
    return { sizeBytes: content.size, open, isOneTime: false };
  }
  if (typeof content === "function") return { sizeBytes: undefined, open: content, isOneTime: false };
  return { sizeBytes: undefined, open: () => content, isOneTime: true };
}

async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** As much is read as can be sent: nothing piles up in memory. */
function toStream(bytes: AsyncGenerator<Uint8Array, void, undefined>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await bytes.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await bytes.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}

/**
 * As browsers do; a backslash as well, with which some readers would take the closing quote for part of the name.
 * @source WHATWG HTML §4.10.22.8, "Multipart form data"
 */
function quoted(name: string): string {
  return name.replaceAll(/["\\\r\n]/g, (character) => encodeURIComponent(character));
}
