import { createReadStream, readFileSync } from "node:fs";
import { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { pathInteger, pathText, required, violation } from "../bodies.ts";
import { filesOf, guard, originalPath, requestOr, tailPath } from "../context.ts";
import type { Context } from "../context.ts";
import { Refusal, success } from "../envelopes.ts";
import { removeFiles, SMALL_BYTES } from "../files.ts";
import type { Document, Request } from "../store.ts";
import { cleanPdf, newUid, savePdf } from "../uploads.ts";

/** Names of the form parts that carry a PDF: file, file2, file3, ... @source docs/provider.md §Upload documents */
const PDF_PART = /^file([2-9]|[1-9]\d+)?$/;
const BLOCK_BYTES = 1 << 20;

/** Reads all parts; one that cannot be taken refuses the whole call, but only after its body has been read. */
async function receive(context: Context, request: Request, call: FastifyRequest, received: Document[]): Promise<void> {
  if (!call.isMultipart()) throw violation("missing", "file", "Field required");
  const { maxDocumentsPerCall, maxDocumentsPerRequest } = context.settings;
  let refusal: Refusal | undefined;
  for await (const part of call.parts()) {
    if (part.type !== "file") continue;
    if (received.length >= maxDocumentsPerCall || request.documents.size + received.length >= maxDocumentsPerRequest) {
      refusal ??= new Refusal(400, `Maximum number of document reached for Request ${request.pk}`);
    }
    if (refusal || !PDF_PART.test(part.fieldname)) {
      part.file.resume();
      continue;
    }
    const uid = newUid();
    const path = originalPath(context, uid);
    let saved = await savePdf(part.file, path);
    if (saved && context.settings.pdfClean) saved = (await cleanPdf(path)) ?? saved;
    if (saved) {
      received.push({ uid, part: part.fieldname, filename: part.filename, ...saved });
      continue;
    }
    const type = part.mimetype === "application/pdf" ? "application/octet-stream" : part.mimetype;
    refusal = new Refusal(415, `Unsupported file type: ${type}`);
  }
  if (refusal) throw refusal;
  required(received[0], "file");
}

function uploadAnswer(documents: Document[], shape: Context["settings"]["uploadShape"]): unknown {
  if (shape === "old") {
    const [first] = documents;
    if (documents.length === 1 && first) return { status: "200 OK", details: first.uid };
    const row = ({ sha256, uid, part, filename }: Document) => ({ digest: sha256, uid, key: part, filename });
    // The first generation did not answer in the order of the upload.
    return { status: "200 OK", details: documents.toReversed().map(row) };
  }
  const detail = documents.map(({ part, uid }) => ({ name: part, uid }));
  return { status: "success", detail: detail.length === 1 && shape === "new" ? detail[0] : detail };
}

async function upload(context: Context, call: FastifyRequest): Promise<unknown> {
  const pk = pathInteger(call.params, "request_pk");
  const unknown = `Cannot upload document: Request ${pk} not found on disk`;
  const request = requestOr(context, pk, unknown);
  if (request.status === "CANCELLED") throw new Refusal(404, unknown);
  guard(request, "upload");
  const received: Document[] = [];
  try {
    await receive(context, request, call, received);
    while (request.signing) await request.signing.catch(() => undefined);
    guard(request, "upload");
  } catch (error) {
    removeFiles(received.map(({ uid }) => originalPath(context, uid)));
    throw error;
  }
  for (const document of received) {
    request.documents.set(document.uid, document);
    const { uid, sha256, bytes } = document;
    context.ledger.add("upload", { request_pk: pk, document_uid: uid, sha256, bytes });
  }
  return uploadAnswer(received, context.settings.uploadShape);
}

/** Sends the original, and behind it what signing appended. */
function send(
  context: Context,
  reply: FastifyReply,
  request: Request,
  document: Document,
  signed: boolean,
): FastifyReply {
  const original = originalPath(context, document.uid);
  const tail = signed ? readFileSync(tailPath(context, document.uid)) : Buffer.alloc(0);
  context.ledger.add(signed ? "download-signed" : "download-original", {
    request_pk: request.pk,
    document_uid: document.uid,
    sha256: signed && document.signedSha256 ? document.signedSha256 : document.sha256,
    bytes: document.bytes + tail.length,
  });
  reply.header("content-type", "application/pdf").header("content-length", document.bytes + tail.length);
  if (document.bytes <= SMALL_BYTES) return reply.send(Buffer.concat([readFileSync(original), tail]));
  async function* pieces(): AsyncGenerator<Buffer> {
    for await (const piece of createReadStream(original, { highWaterMark: BLOCK_BYTES })) yield piece as Buffer;
    yield tail;
  }
  return reply.send(Readable.from(pieces(), { objectMode: false, highWaterMark: BLOCK_BYTES }));
}

function find(context: Context, call: FastifyRequest): { request: Request; document: Document } {
  const request = context.store.requests.get(pathInteger(call.params, "request_pk"));
  const document = request?.documents.get(pathText(call.params, "document_uid"));
  if (!request || !document) throw new Refusal(404, "Document not found");
  return { request, document };
}

function download(context: Context, call: FastifyRequest, reply: FastifyReply, version: string): FastifyReply {
  const { request, document } = find(context, call);
  const signed = version === "signed";
  if (signed && document.tailBytes === undefined) throw new Refusal(404, "Document not found");
  return send(context, reply, request, document, signed);
}

function removeDocuments(context: Context, request: Request, uids: string[]): void {
  for (const uid of uids) request.documents.delete(uid);
  removeFiles(filesOf(context, uids));
}

export function documentRoutes(app: FastifyInstance, context: Context): void {
  app.post("/document/:request_pk", { config: { operation: "uploadDocument" } }, async (call, reply) =>
    reply.send(await upload(context, call)),
  );

  app.get(
    "/document/:request_pk/signed/:document_uid",
    { config: { operation: "getSignedDocument" } },
    (call, reply) => {
      // As a server that has only the other form would answer: no such route.
      if (context.settings.retrieval === "reference") return reply.code(404).send({ detail: "Not Found" });
      return download(context, call, reply, "signed");
    },
  );

  app.get("/document/:request_pk/:document_uid", { config: { operation: "getDocument" } }, (call, reply) => {
    if (context.settings.retrieval === "seed")
      return reply.code(405).header("allow", "DELETE").send({ detail: "Method Not Allowed" });
    // The default is not documented; the original is the one a caller who forgot the parameter notices.
    const version = (call.query as Record<string, string | undefined>)["document_type"] ?? "original";
    if (version !== "signed" && version !== "original") {
      throw violation("enum", "document_type", "Input should be 'signed' or 'original'", "query");
    }
    return download(context, call, reply, version);
  });

  app.delete(
    "/document/:request_pk/:document_uid",
    { config: { operation: "deleteDocument" } },
    async (call, reply) => {
      const { request, document } = find(context, call);
      await request.signing?.catch(() => undefined);
      if (!request.documents.has(document.uid)) throw new Refusal(404, "Document not found");
      context.ledger.add("delete-document", { request_pk: request.pk, document_uid: document.uid });
      removeDocuments(context, request, [document.uid]);
      return reply.send(success("Document successfully deleted"));
    },
  );

  app.delete("/document/:request_pk", { config: { operation: "deleteAllDocuments" } }, async (call, reply) => {
    const pk = pathInteger(call.params, "request_pk");
    const request = context.store.requests.get(pk);
    await request?.signing?.catch(() => undefined);
    if (!request || request.documents.size === 0) throw new Refusal(404, "No documents found for specified Request");
    context.ledger.add("delete-all", { request_pk: pk });
    removeDocuments(context, request, [...request.documents.keys()]);
    return reply.send(success(`Documents deleted for Request ${pk}`));
  });
}
