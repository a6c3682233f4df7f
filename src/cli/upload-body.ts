import { randomUUID } from "node:crypto";
import { createReadStream, statSync } from "node:fs";
import { basename } from "node:path";
import { quoteFilename } from "../provider/multipart.ts";
import type { Sending } from "./client.ts";
import type { NamedFile } from "./submit.ts";
import { CliError, visible } from "./terminal.ts";

const BLOCK_BYTES = 256 * 1024;

/** The body of a submission, and how long it is. */
export interface UploadBody extends Sending {
  totalBytes: number;
}

/**
 * The manifest, the documents and the files that show who the signer is as multipart/form-data, read from the files
 * while it is sent; `sent` is told how many bytes have left. Throws CliError for a file that cannot be read, before
 * anything is sent.
 * @source RFC 7578 §4
 */
export function toUploadBody(
  manifest: unknown,
  { paths, files: named = [] }: { paths: string[]; files?: NamedFile[] },
  sent: (bytes: number) => void,
): UploadBody {
  const files = [
    ...paths.map((path) => toFilePart(path, "name documents")),
    ...named.map(({ role, path }) => ({
      path,
      bytes: sizeOf(path, `it is to be sent as ${role}`),
      part: `name="enclosure"; filename="${role}"`,
      type: "application/octet-stream",
    })),
  ];
  return toMultipart([{ name: "manifest", bytes: Buffer.from(JSON.stringify(manifest)) }], files, sent);
}

/** A file that is sent, and the part that it becomes. */
export interface FilePart {
  path: string;
  bytes: number;
  /** What the part's Content-Disposition has behind "form-data; ". */
  part: string;
  type: string;
}

/** A file as a part "file" under its own name. `hint` says what to do where it cannot be read. */
export function toFilePart(path: string, hint: string): FilePart {
  const part = `name="file"; filename=${quoteFilename(basename(path))}`;
  return { path, bytes: sizeOf(path, hint), part, type: typeOf(path) };
}

/** Fields in memory, then files, read while they are sent. `sent` is told how many bytes have left. */
export function toMultipart(
  fields: readonly { name: string; bytes: Uint8Array; type?: string }[],
  files: readonly FilePart[],
  sent: (bytes: number) => void,
): UploadBody {
  const boundary = `signpipe-${randomUUID()}`;
  const head = (part: string, type: string, isFirst: boolean) =>
    Buffer.from(
      `${isFirst ? "" : "\r\n"}--${boundary}\r\nContent-Disposition: form-data; ${part}\r\nContent-Type: ${type}\r\n\r\n`,
    );
  const start = Buffer.concat(
    fields.flatMap(({ name, bytes, type = "application/json" }, i) => [head(`name="${name}"`, type, i === 0), bytes]),
  );
  const heads = files.map(({ part, type }) => head(part, type, false));
  const end = Buffer.from(`\r\n--${boundary}--\r\n`);
  const totalBytes =
    start.length +
    heads.reduce((sum, one) => sum + one.length, 0) +
    files.reduce((sum, file) => sum + file.bytes, 0) +
    end.length;

  async function* body(): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    const counted = (chunk: Buffer): Buffer => {
      bytes += chunk.length;
      sent(bytes);
      return chunk;
    };
    yield counted(start);
    for (const [i, file] of files.entries()) {
      yield counted(heads[i] as Buffer);
      let left = file.bytes;
      for await (const chunk of createReadStream(file.path, { highWaterMark: BLOCK_BYTES }) as AsyncIterable<Buffer>) {
        left -= chunk.length;
        if (left < 0) break;
        yield counted(chunk);
      }
      if (left !== 0) throw new CliError(`${file.path} changed while it was sent: submit it once it is complete.`);
    }
    yield counted(end);
  }

  return {
    totalBytes,
    headers: { "content-type": `multipart/form-data; boundary=${boundary}`, "content-length": String(totalBytes) },
    body,
  };
}

/** For whoever reads the traffic: the API looks at the bytes. */
function typeOf(path: string): string {
  return /\.pdf$/i.test(path) ? "application/pdf" : "application/octet-stream";
}

function sizeOf(path: string, hint: string): number {
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw new CliError(`${visible(path)} is not a file: ${hint}.`);
    if (stat.size === 0) throw new CliError(`${visible(path)} is empty: ${hint}.`);
    return stat.size;
  } catch (error) {
    if (error instanceof CliError) throw error;
    const errno = (error as NodeJS.ErrnoException).code ?? "error";
    throw new CliError(`${visible(path)} cannot be read (${errno}): check the name; ${hint}.`);
  }
}
