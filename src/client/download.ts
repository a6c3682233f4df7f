import { createHash, randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename } from "node:path";
import { type Calls, noAnswer, unexpected } from "./calls.ts";
import { SignpipeError } from "./error.ts";

/** A file of which the API announces no SHA-256. It is read once, in one of three ways. */
export interface Passed {
  /** The name to save it under, without a folder. */
  name: string;
  contentType: string;
  /** In bytes; undefined when that is not known beforehand. */
  sizeBytes: number | undefined;
  /** The bytes as they come. */
  content: AsyncIterable<Uint8Array>;
  /** All of it, in memory. */
  bytes(): Promise<Uint8Array>;
  /** Writes it to this path. There is nothing, or what was there before, until it is whole and compared. */
  saveTo(path: string): Promise<void>;
  /** Lets go of it, when it is not to be read. */
  cancel(): void;
}

/** A file that came of a request. Reading it throws SignpipeError "download-differs" at the end of another one. */
export interface Download extends Passed {
  sizeBytes: number;
  /** What the file must be, in hexadecimal. Whichever way it is read, it is compared with this at its end. */
  sha256: string;
}

/** So long may nothing come of a file that is under way. */
const QUIET_MS = 60_000;

export interface DownloadOptions {
  /** What you know from elsewhere that it must be, such as from `evidence.json`, in hexadecimal. */
  sha256?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** Begins a download. Throws SignpipeError "download-differs" at once when the server means another file. */
export async function download(
  calls: Calls,
  path: string,
  { sha256: wanted, signal, quietMs = QUIET_MS }: DownloadOptions & { quietMs?: number },
): Promise<Download> {
  const opened = await calls.open({ path, headers: { accept: "*/*" }, signal });
  const { response, over } = opened;
  const sha256 = /^"([0-9a-f]{64})"$/.exec(response.headers.get("etag") ?? "")?.[1];
  const sizeBytes = lengthOf(response);
  if (sha256 === undefined || !response.body || sizeBytes === undefined) {
    over.abort();
    throw unexpected(response.status);
  }
  if (wanted !== undefined && wanted.toLowerCase() !== sha256) {
    over.abort();
    throw differs();
  }

  return { ...toPassed(opened, { sizeBytes, sha256, signal, quietMs }), sizeBytes, sha256 };
}

/** Begins to read what is passed on as it is: of it nobody can say before what it must be. */
export async function passOn(
  calls: Calls,
  path: string,
  { signal, quietMs = QUIET_MS }: { signal?: AbortSignal | undefined; quietMs?: number } = {},
): Promise<Passed> {
  const opened = await calls.open({ path, headers: { accept: "*/*" }, signal });
  return toPassed(opened, { sizeBytes: lengthOf(opened.response), sha256: undefined, signal, quietMs });
}

interface Expected {
  sizeBytes: number | undefined;
  sha256: string | undefined;
  signal: AbortSignal | undefined;
  quietMs: number;
}

function toPassed(
  { response, over }: Awaited<ReturnType<Calls["open"]>>,
  { sizeBytes, sha256, signal, quietMs }: Expected,
): Passed {
  const { headers, body } = response;

  async function* content(): AsyncGenerator<Uint8Array, void, undefined> {
    const timer = setTimeout(() => over.abort(), quietMs);
    const hash = createHash("sha256");
    let readBytes = 0;
    try {
      for await (const chunk of (body ?? []) as unknown as AsyncIterable<Uint8Array>) {
        timer.refresh();
        hash.update(chunk);
        readBytes += chunk.byteLength;
        yield chunk;
      }
    } catch (error) {
      signal?.throwIfAborted();
      throw noAnswer("The download broke off", error);
    } finally {
      clearTimeout(timer);
      over.abort();
    }
    if (sizeBytes !== undefined && readBytes !== sizeBytes) throw differs();
    if (sha256 !== undefined && hash.digest("hex") !== sha256) throw differs();
  }

  const once = content();
  return {
    name: toName(headers.get("content-disposition")),
    contentType: headers.get("content-type") ?? "application/octet-stream",
    sizeBytes,
    content: once,
    async bytes() {
      const chunks: Uint8Array[] = [];
      for await (const chunk of once) chunks.push(chunk);
      return new Uint8Array(Buffer.concat(chunks));
    },
    saveTo: (path) => save(once, path),
    cancel: () => over.abort(),
  };
}

function lengthOf({ headers }: Response): number | undefined {
  const bytes = Number(headers.get("content-length") ?? Number.NaN);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

function differs(): SignpipeError {
  return new SignpipeError("download-differs", "What came is not the file that it should be: its SHA-256 is another.");
}

/** Under a name of its own until it is whole and on the disk. */
async function save(content: AsyncIterable<Uint8Array>, path: string): Promise<void> {
  const partial = `${path}.${randomUUID()}.part`;
  const file = await open(partial, "wx");
  try {
    try {
      for await (const chunk of content) await file.writeFile(chunk);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

/** @source RFC 6266 §4.1; RFC 8187 §3.2. Never more than the last part of a path, whatever a server says. */
function toName(disposition: string | null): string {
  const encoded = /filename\*=UTF-8''([^;\s]+)/i.exec(disposition ?? "")?.[1];
  const plain = /filename="([^"]*)"/i.exec(disposition ?? "")?.[1];
  const name = basename((decoded(encoded) ?? plain ?? "").replaceAll("\\", "/"));
  return name === "" || /^\.+$/.test(name) ? "download" : name;
}

function decoded(text: string | undefined): string | undefined {
  try {
    return text === undefined ? undefined : decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
