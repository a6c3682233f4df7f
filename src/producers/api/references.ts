import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { z } from "zod";
import { PermanentError, RetryableError } from "../../core/errors.ts";
import { type RequestId, Sha256, type StoredDocument } from "../../core/request.ts";
import { toDiskFailure } from "../../files/durable.ts";
import { formatOf, namedFiles } from "../manifest.ts";
import { toDisplayName } from "./names.ts";
import type { ApiParts, Limits } from "./ports.ts";
import { ApiError, type FieldError } from "./problem.ts";
import { type Remote, unreachable } from "./remote.ts";
import type { Incoming } from "./submit.ts";
import { matchEnclosures, parseManifest, sorted, toDocumentError, tooLarge } from "./upload.ts";

/** Of a submission that names its documents: a hundred addresses with signatures in them, and the manifest. */
export const REFERENCES_BYTES = 512 * 1024;

const Address = z
  .string()
  .max(4_000, "must not be longer than 4000 characters")
  .refine(
    (text) => URL.canParse(text) && /^https?:/i.test(text),
    "must be an address like https://files.example/lease.pdf",
  );

/** A document by its address. */
export const Reference = z.strictObject({
  url: Address.describe("Where it is. Fetched at once, by https, from hosts that the operator allows."),
  sha256: Sha256.optional().describe("What it must be, in hexadecimal; otherwise nothing is accepted."),
  name: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe("Its file name for people; the last part of the address if left out."),
});

/** A submission whose documents are named by their addresses. */
const ReferencesBody = z.strictObject({
  manifest: z.record(z.string(), z.unknown()),
  documents: z.array(Reference).min(1),
});
type ReferencesBody = z.infer<typeof ReferencesBody>;

type Parts = Pick<ApiParts, "documents"> & { limits: Limits; remote: Remote };

function parse(body: unknown): ReferencesBody {
  const parsed = ReferencesBody.safeParse(body, { reportInput: true });
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.slice(0, 20).flatMap((issue): FieldError[] => {
    const field = ["body", ...issue.path].join(".");
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({
        field: `${field}.${toDisplayName(key, "?").slice(0, 60)}`,
        message: "is not a key that is known here",
      }));
    }
    if (issue.code !== "invalid_type") return [{ field, message: issue.message }];
    return [{ field, message: issue.input === undefined ? "is missing" : `must be a JSON ${issue.expected}` }];
  });
  const [first] = errors;
  throw new ApiError("invalid-request", `${first?.field} ${first?.message}.`, errors);
}

/**
 * A submission of JSON: `{"manifest": …, "documents": [{"url": …}]}`. What is compared when it is repeated is this JSON and
 * not the documents, which need not be there any more.
 */
export function toReferences(body: unknown, { documents: store, remote, limits }: Parts): Incoming {
  const { manifest: sent, documents } = parse(body);
  const manifest = parseManifest(sent);
  const content = JSON.stringify(["references", sorted(manifest), sorted(documents)]);
  const bodyHash = createHash("sha256").update(content).digest("hex");
  if (documents.length > limits.documents) {
    throw new ApiError(
      "too-many-documents",
      `One submission takes up to ${limits.documents} documents; send the rest apart.`,
    );
  }
  for (const { url } of documents) remote.mayFetch(url);

  return {
    announcedBytes: 0,
    identify: () => Promise.resolve({ bodyHash, documents: documents.length }),
    async read(id) {
      const stored: StoredDocument[] = [];
      let totalBytes = 0;
      for (const [i, reference] of documents.entries()) {
        const n = i + 1;
        const name = toDisplayName(reference.name ?? lastOf(reference.url), `document-${n}.pdf`);
        const left = limits.totalBytes - totalBytes;
        const document = await fetchOne(reference, { id, n, name, left, store, remote, limits });
        totalBytes += document.sizeBytes;
        const checked = await store.check(document, formatOf(manifest)).catch((error: unknown) => {
          throw toDocumentError(error, n, name, limits, "documents");
        });
        stored.push(checked);
      }
      const enclosures = await matchEnclosures(namedFiles(manifest.identity), [], { store, limits });
      return { manifest, documents: stored, enclosures, bodyHash };
    },
  };
}

interface Fetching {
  id: RequestId;
  n: number;
  name: string;
  /** Bytes that the submission may still have. */
  left: number;
  store: Parts["documents"];
  remote: Remote;
  limits: Limits;
}

async function fetchOne(
  { url, sha256 }: z.infer<typeof Reference>,
  { id, n, name, left, store, remote, limits }: Fetching,
): Promise<StoredDocument> {
  const { content, declaredBytes = 0 } = await remote.fetch(url);
  let broken: unknown;
  content.on("error", (error) => (broken = error));
  try {
    if (declaredBytes > limits.documentBytes) throw tooLargeFile();
    if (declaredBytes > left) throw tooLarge(limits);
    await store.room(declaredBytes);
    const document = await store.receive(id, n, name, Readable.from(bounded(content, left, limits)));
    if (sha256 === undefined || document.sha256 === sha256) return document;
    const detail = `Document ${n} ("${name}") has another SHA-256 than the submission says.`;
    throw new ApiError("document-differs", detail, [{ field: `documents[${n}]`, message: "has another SHA-256" }]);
  } catch (error) {
    // It broke off on its way; what has a code of ours is about the document, or about our disk.
    const isOurs = error instanceof ApiError || isFailureOfOurs(toDiskFailure(error));
    if (broken !== undefined && !isOurs) throw unreachable(new URL(url).host);
    throw toDocumentError(error, n, name, limits, "documents");
  } finally {
    content.destroy();
  }
}

/** Says when it is too much as soon as it is: what a host says of the size need not be so. */
async function* bounded(content: Readable, left: number, limits: Limits): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of content as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > limits.documentBytes) throw tooLargeFile();
    if (size > left) throw tooLarge(limits);
    yield chunk;
  }
}

function tooLargeFile(): PermanentError {
  return new PermanentError("It is too large.", { code: "file-too-large" });
}

function isFailureOfOurs(error: unknown): boolean {
  return error instanceof PermanentError || error instanceof RetryableError;
}

/** The last part of an address, as people read it. */
function lastOf(url: string): string | undefined {
  const last = new URL(url).pathname.split("/").at(-1);
  try {
    return last === undefined || last === "" ? undefined : decodeURIComponent(last);
  } catch {
    return last;
  }
}
