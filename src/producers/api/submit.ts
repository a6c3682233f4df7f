import multipart from "@fastify/multipart";
import type { FastifyRequest } from "fastify";
import { randomBytes } from "node:crypto";
import { PermanentError } from "../../core/errors.ts";
import { splitDocuments } from "../../core/group.ts";
import { type RequestId, toRequestId } from "../../core/request.ts";
import type { Fitted } from "../../files/appearances.ts";
import type { Taking } from "../../queues/pipeline-types.ts";
import { toWishes } from "../manifest.ts";
import { type Bound, CLAIM_MS, type Claim } from "./idempotency-types.ts";
import type { ApiParts, Limits, Server } from "./ports.ts";
import { ApiError } from "./problem.ts";
import type { Remote } from "./remote.ts";
import { REFERENCES_BYTES, toReferences } from "./references.ts";
import { tenantFor } from "./tenancy.ts";
import { readUpload, type Upload } from "./upload.ts";
import { type Accepted, Accepted as AcceptedSchema, toAccepted } from "./view.ts";

type Parts = Pick<ApiParts, "pipeline" | "documents" | "idempotency"> & { limits: Limits; remote: Remote };

/** Adds `POST /v1/requests`. */
export function addSubmit(app: Server, parts: Parts): void {
  void app.register(multipart, { throwFileSizeLimit: false });
  app.after(() => {
    app.post(
      "/v1/requests",
      {
        bodyLimit: REFERENCES_BYTES,
        schema: {
          operationId: "submitRequest",
          summary: "Hand in documents to be signed",
          description:
            "Takes one manifest and one or more PDFs, or files of any kind of which only the hash is to be signed, as " +
            'multipart/form-data, in any order; and, each as a part "enclosure" under its file name, the files that the ' +
            'manifest names under "identity". They are stored and ' +
            "checked, and the request is durable and queued, when this answers. More than ten documents become several " +
            "requests, each of which is identified, approved and signed by itself; the answer names them all under " +
            '"group". Documents may also be named by their address: then the body is JSON, and they are fetched before this ' +
            "answers. Send an Idempotency-Key to be able to " +
            "repeat the call: the same key with the same body gives the same answer and makes nothing twice.",
          tags: ["Requests"],
          response: { 202: AcceptedSchema },
          "x-answers": {
            202: {
              description: "Accepted. The Location header names the request.",
              headers: {
                Location: "Address of the request.",
                "Idempotency-Replayed": "true when it was accepted before.",
              },
            },
          },
          "x-problems": [
            "invalid-multipart",
            "invalid-request",
            "invalid-json",
            "unknown-part",
            "manifest-missing",
            "manifest-repeated",
            "no-documents",
            "too-many-documents",
            "invalid-idempotency-key",
            "idempotency-in-progress",
            "too-large",
            "unsupported-media-type",
            "not-a-pdf",
            "invalid-manifest",
            "unusable-pdf",
            "hash-file-invalid",
            "document-host-not-allowed",
            "document-not-fetched",
            "document-differs",
            "document-host-unreachable",
            "enclosure-missing",
            "enclosure-not-named",
            "unusable-enclosure",
            "auto-approval-not-allowed",
            "callback-not-allowed",
            "unknown-tenant",
            "unknown-rao",
            "idempotency-mismatch",
            "disk-full",
            "redis-full",
            "disk-read-only",
            "disk-error",
          ],
        },
      },
      async (request, reply) => {
        const incoming = toIncoming(request, parts);
        // Before the key is looked up, which Redis may have forgotten, and before an upload is read for nothing.
        const taking = await parts.pipeline.mayTake();
        const { accepted, replayed } = await submit(request, { ...parts, taking, incoming });
        if (replayed) void reply.header("idempotency-replayed", "true");
        return await reply.code(202).header("location", accepted.links.self).send(accepted);
      },
    );
  });
}

/** What a submission comes as. */
export interface Incoming {
  /** How much is to come, in bytes, as far as that is said; 0 otherwise. */
  announcedBytes: number;
  /** Stores its documents under `id`; what was stored when it throws is the caller's to discard. */
  read(id: RequestId): Promise<Upload>;
  /** What it is, to be compared with an earlier one. Stores nothing that stays. */
  identify(): Promise<{ bodyHash: string; documents: number }>;
}

function toIncoming(request: FastifyRequest, parts: Parts): Incoming {
  if (request.isMultipart()) {
    return {
      announcedBytes: Number(request.headers["content-length"] ?? 0),
      read: (id) => readUpload(request, { id, ...parts }),
      async identify() {
        const id = freshId();
        try {
          const { bodyHash, documents } = await readUpload(request, { id, ...parts });
          return { bodyHash, documents: documents.length };
        } finally {
          await parts.documents.discard(id);
        }
      },
    };
  }
  if (request.body !== undefined) return toReferences(request.body, parts);
  throw new ApiError(
    "unsupported-media-type",
    'Send multipart/form-data with one part "manifest" and one or more parts "file", or JSON that names the documents.',
  );
}

type Taken = Parts & { taking: Taking; incoming: Incoming };

interface Outcome {
  accepted: Accepted;
  replayed: boolean;
}

async function submit(request: FastifyRequest, parts: Taken): Promise<Outcome> {
  const name = idempotencyKeyOf(request);
  const begun = name === undefined ? undefined : await parts.idempotency.begin(name);
  if (begun?.state === "busy") throw inProgress();
  if (begun?.state === "done") return await replay(request, parts, begun.bound);
  if (!begun || name === undefined) return await accept(request, parts, freshId());

  const { claim, earlier } = begun;
  const stop = keepExtended(claim);
  try {
    // An attempt before us got as far as binding. Did it submit? If so this is a repetition, else we finish its work.
    if (earlier && (await parts.pipeline.find(earlier.requestId))) {
      const outcome = await replay(request, parts, earlier);
      await claim.finish();
      return outcome;
    }
    return await accept(request, parts, earlier?.requestId ?? freshId(), { name, claim, earlier });
  } finally {
    stop();
    await claim.release().catch((error: unknown) => request.log.warn({ err: error }, "idempotency claim not released"));
  }
}

/** Stores the upload and submits it as `id`. Nothing stays behind when it is known not to be accepted. */
async function accept(
  request: FastifyRequest,
  parts: Taken,
  id: RequestId,
  key?: { name: string; claim: Claim; earlier: Bound | undefined },
): Promise<Outcome> {
  const { pipeline, documents } = parts;
  let upload: Upload;
  let tenant: string | undefined;
  let fitted: Fitted;
  try {
    await documents.room(parts.incoming.announcedBytes);
  } catch (error) {
    request.raw.resume(); // the client, which sends first, gets to read the answer
    throw error;
  }
  try {
    await documents.discard(id);
    upload = await parts.incoming.read(id);
    tenant = tenantFor(request.keyTenant, upload.manifest.tenant);
    fitted = await documents.fit(upload.manifest.signature, upload.documents).catch(toManifestError);
    if (key) await bind(key, upload.bodyHash, id);
  } catch (error) {
    await discard();
    throw error;
  }
  let mayBeWritten = false;
  try {
    const by = `api:${request.keyName}`;
    const { manifest, bodyHash, documents: all, enclosures } = upload;
    const [first = [], ...rest] = splitDocuments(all);
    const files = { documents: first, rest, enclosures };
    const idempotency = key && { name: key.name, bodyHash };
    const submission = {
      ...toWishes(manifest),
      ...fitted,
      tenant,
      id,
      source: "api" as const,
      ...files,
      by,
      idempotency,
    };
    await pipeline.submit(submission, { taking: parts.taking, writes: () => (mayBeWritten = true) });
  } catch (error) {
    if (!mayBeWritten) {
      await discard();
      throw error;
    }
    // It may have been written before this failed, and Redis may have forgotten it since, which the journal brings back:
    // that it is not there is no reason to drop its documents. Whoever tidies finds what nobody has accepted.
    if (!(await pipeline.find(id))) throw error;
    request.log.warn({ requestId: id, err: error }, "request accepted although its submission did not finish");
  }
  await documents
    .accept(id)
    .catch((error: unknown) => request.log.warn({ requestId: id, err: error }, "upload not marked as accepted"));
  // Accepted is accepted: when only the memory of the key fails, the next call finds the bound request by itself.
  await key?.claim
    .finish()
    .catch((error: unknown) => request.log.warn({ requestId: id, err: error }, "idempotency key not finished"));
  return { accepted: toAccepted(id, upload.documents.length), replayed: false };

  /** What cannot be removed now is removed by whoever tidies: the caller is told why it was not accepted. */
  async function discard(): Promise<void> {
    await documents
      .discard(id)
      .catch((error: unknown) => request.log.warn({ requestId: id, err: error }, "upload not removed"));
  }
}

/** An appearance that does not fit, told as what is wrong with the manifest. Everything else is passed through. */
function toManifestError(error: unknown): never {
  if (!(error instanceof PermanentError) || error.code !== "invalid-manifest") throw error;
  const errors = Object.entries(error.fields ?? {}).map(([field, message]) => ({
    field: `manifest.${field}`,
    message,
  }));
  throw new ApiError("invalid-manifest", `The manifest cannot be used: ${error.message}.`, errors);
}

async function bind({ claim, earlier }: { claim: Claim; earlier: Bound | undefined }, bodyHash: string, id: RequestId) {
  if (earlier && earlier.bodyHash !== bodyHash) throw otherBody();
  if (await claim.bind({ bodyHash, requestId: id })) return;
  throw new ApiError(
    "idempotency-in-progress",
    "Another call with this Idempotency-Key took over meanwhile; repeat the call to get its answer.",
  );
}

/** The answer that was given before, after making sure that this is the same call. */
async function replay(request: FastifyRequest, { pipeline, incoming }: Taken, bound: Bound): Promise<Outcome> {
  const { bodyHash, documents } = await incoming.identify();
  if (bodyHash !== bound.bodyHash) throw otherBody();
  // A crash may have come between its requests: those that are missing are made now, or by whoever takes up the first.
  const accepted = toAccepted(bound.requestId, documents);
  if (accepted.group) {
    await pipeline
      .completeGroup(bound.requestId)
      .catch((error: unknown) => request.log.warn({ requestId: bound.requestId, err: error }, "group not completed"));
  }
  return { accepted, replayed: true };
}

function otherBody(): ApiError {
  return new ApiError(
    "idempotency-mismatch",
    "This Idempotency-Key was used for another manifest or other documents; use a new key for a new request.",
  );
}

/**
 * Names the call's Idempotency-Key, with whose it is. The key is a string in quotes, as the draft has it, or the same
 * without them, as most clients send it: both are one key.
 * Throws ApiError "invalid-idempotency-key".
 * @source draft-ietf-httpapi-idempotency-key-header-07 §2.1; RFC 9651 §3.3.3
 */
export function idempotencyKeyOf(request: FastifyRequest): string | undefined {
  const sent = request.headers["idempotency-key"];
  if (sent === undefined) return undefined;
  const key = typeof sent === "string" ? readKey(sent) : undefined;
  if (key === undefined) {
    throw new ApiError(
      "invalid-idempotency-key",
      "Idempotency-Key must be 1 to 255 visible ASCII characters, in double quotes or not, sent once.",
    );
  }
  return `${request.keyName}:${key}`;
}

function readKey(sent: string): string | undefined {
  const [, quoted] = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/.exec(sent.trim()) ?? [];
  const key = quoted?.replaceAll(/\\(.)/g, "$1") ?? sent;
  // Two headers arrive as one, joined by a comma and a space.
  const pattern = quoted === undefined ? /^[\x21\x23-\x7e]{1,255}$/ : /^[\x20-\x7e]{1,255}$/;
  return pattern.test(key) ? key : undefined;
}

export function inProgress(): ApiError {
  return new ApiError(
    "idempotency-in-progress",
    "A call with this Idempotency-Key is still being worked on; repeat it in a few seconds to get its answer.",
  );
}

/** Holds a claim until the function that is returned is called. */
export function keepExtended(claim: Claim): () => void {
  // A failure to extend is found out when the key is bound: then the claim is ours or it is not.
  const timer = setInterval(() => void claim.extend().catch(() => false), CLAIM_MS / 3);
  timer.unref();
  return () => {
    clearInterval(timer);
  };
}

function freshId(): RequestId {
  return toRequestId(randomBytes(16));
}
