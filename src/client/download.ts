import { createHash, randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename } from "node:path";
import { type Calls, noAnswer, unexpected } from "./calls.ts";
import { SignpipeError } from "./error.ts";

/** A file that came of a request. It is read once, in one of three ways. */
export interface Download {
  /** The name to save it under, without a folder. */
  name: string;
  contentType: string;
  /** In bytes. */
  sizeBytes: number;
  /** What the file must be, in hexadecimal. Whichever way it is read, it is compared with this at its end. */
  sha256: string;
  /** The bytes as they come. Throws SignpipeError "download-differs" at the end of a file that is another one. */
  content: AsyncIterable<Uint8Array>;
  /** All of it, in memory. */
  bytes(): Promise<Uint8Array>;
  /** Writes it to this path. There is nothing, or what was there before, until it is whole and compared. */
  saveTo(path: string): Promise<void>;
  /** Lets go of it, when it is not to be read. */
  cancel(): void;
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
  const { response, over } = await calls.open({ path, headers: { accept: "*/*" }, signal });
  const { headers, body } = response;
  const sha256 = /^"([0-9a-f]{64})"$/.exec(headers.get("etag") ?? "")?.[1];
  const sizeBytes = Number(headers.get("content-length") ?? Number.NaN);
  if (sha256 === undefined || !body || !Number.isSafeInteger(sizeBytes)) {
    over.abort();
    throw unexpected(response.status);
  }
  if (wanted !== undefined && wanted.toLowerCase() !== sha256) {
    over.abort();
    throw differs();
  }

  async function* content(): AsyncGenerator<Uint8Array, void, undefined> {
    const timer = setTimeout(() => over.abort(), quietMs);
    const hash = createHash("sha256");
    let readBytes = 0;
    try {
      for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
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
    if (readBytes !== sizeBytes || hash.digest("hex") !== sha256) throw differs();
  }

  const once = content();
  return {
    name: toName(headers.get("content-disposition")),
    contentType: headers.get("content-type") ?? "application/octet-stream",
    sizeBytes,
    sha256,
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
