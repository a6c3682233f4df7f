import type { MultipartFile } from "@fastify/multipart";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { Priority } from "../../core/batch.ts";
import { PermanentError } from "../../core/errors.ts";
import type { Incoming } from "../../files/batches.ts";
import type { BatchFile } from "../batch/check.ts";
import type { BatchDoor } from "../batch/door.ts";
import { toDisplayName } from "./names.ts";
import { ApiError } from "./problem.ts";
import { toSize } from "./sizes.ts";
import { sortUpload } from "./upload.ts";

const BLOCK_BYTES = 1 << 20;
const OPTIONS_BYTES = 16 * 1024;
/** Rows of the workflow with most files, and what is not a file. */
const FILES_PER_ROW = 10;
const OTHER_PARTS = 4;

const Options = z.strictObject({
  name: z.string().min(1).max(200).optional(),
  priority: Priority,
  canary: z.boolean("must be true or false").default(false),
});
export type BatchOptions = z.infer<typeof Options>;

/** What came with a call that hands a batch in. */
export interface BatchUpload {
  table: Buffer;
  files: BatchFile[];
  options: BatchOptions;
}

/**
 * Reads the parts of a batch, in any order: the table into memory, its files to their places. Throws ApiError for what is
 * wrong with them; what was stored until then is the caller's to discard.
 */
export async function readBatchUpload(
  request: FastifyRequest,
  { incoming, limits }: { incoming: Incoming; limits: BatchDoor["limits"] },
): Promise<BatchUpload> {
  const { maxRows, maxTableBytes, maxDocumentBytes, maxBytes } = limits;
  let table: Buffer | undefined;
  let options: BatchOptions | undefined;
  const files = new Map<string, BatchFile>();
  let totalBytes = 0;
  const most = maxRows * FILES_PER_ROW + OTHER_PARTS;
  try {
    for await (const part of request.parts({
      isPartAFile: () => true,
      fileHwm: BLOCK_BYTES,
      limits: { files: most, parts: most, fileSize: Math.max(maxDocumentBytes, maxTableBytes) },
    })) {
      if (part.type !== "file") continue;
      if (part.fieldname === "batch") {
        if (table) throw repeated("batch");
        table = await readBytes(part, "batch", maxTableBytes);
      } else if (part.fieldname === "options") {
        if (options) throw repeated("options");
        options = parseOptions(await readBytes(part, "options", OPTIONS_BYTES));
      } else if (part.fieldname === "file") {
        const file = await receive(part, { n: files.size + 1, incoming, maxDocumentBytes });
        if (files.has(file.name)) throw repeated(file.name);
        files.set(file.name, file);
        totalBytes += file.sizeBytes;
        if (totalBytes > maxBytes) throw tooLarge("All files together", maxBytes);
      } else {
        const name = toDisplayName(part.fieldname, "?").slice(0, 60);
        const known = 'send the table as "batch", its files as "file", and what else there is to say as "options"';
        throw new ApiError("unknown-part", `Part "${name}" is not known: ${known}.`);
      }
    }
  } catch (error) {
    throw sortUpload(error);
  } finally {
    // Whatever is left of the body is read and dropped, so that the client, which sends first, gets to read the answer.
    request.raw.unpipe();
    request.raw.resume();
  }
  if (!table) throw new ApiError("table-missing", 'Send the table, batch.csv or batch.json, in a part named "batch".');
  return { table, files: [...files.values()], options: options ?? Options.parse({}) };
}

async function receive(
  part: MultipartFile,
  { n, incoming, maxDocumentBytes }: { n: number; incoming: Incoming; maxDocumentBytes: number },
): Promise<BatchFile> {
  const name = toDisplayName(part.filename, `file-${n}`).normalize("NFC");
  try {
    const { sizeBytes, sha256 } = await incoming.receive(n, part.file, maxDocumentBytes);
    if (part.file.truncated) throw new PermanentError("It is too large.", { code: "file-too-large" });
    return { name, n, path: incoming.documentPath(n), sizeBytes, sha256 };
  } catch (error) {
    if (!(error instanceof PermanentError)) throw error;
    if (error.code === "file-too-large") throw tooLarge(`"${name}"`, maxDocumentBytes);
    throw new ApiError("unusable-pdf", `"${name}" cannot be signed: ${error.message}`);
  }
}

async function readBytes(part: MultipartFile, name: string, mostBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of part.file as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > mostBytes) throw tooLarge(`The part "${name}"`, mostBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseOptions(bytes: Buffer): BatchOptions {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch {
    throw new ApiError("invalid-json", 'The part "options" is not valid JSON.');
  }
  const read = Options.safeParse(value);
  if (read.success) return read.data;
  const errors = read.error.issues.map(({ path, message }) => ({
    field: ["options", ...path.map(String)].join("."),
    message: message.startsWith("Invalid") || message.startsWith("Unrecognized") ? "cannot be used" : message,
  }));
  throw new ApiError("invalid-request", `${errors[0]?.field} ${errors[0]?.message}.`, errors);
}

function repeated(name: string): ApiError {
  return new ApiError("part-repeated", `"${name}" was sent twice: rows name files, and each name must be one file's.`);
}

function tooLarge(what: string, mostBytes: number): ApiError {
  return new ApiError("too-large", `${what} must not be larger than ${toSize(mostBytes)}.`);
}
