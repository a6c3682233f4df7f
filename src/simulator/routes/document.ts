import { createReadStream, readFileSync } from "node:fs";
import { Readable } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import { pathInteger, pathText, violation } from "../bodies.ts";
import { cleanPath, filesOf, note, originalPath, tailPath } from "../context.ts";
import type { Context } from "../context.ts";
import { gave, NoSuchRoute, Refusal, said } from "../envelopes.ts";
import { removeFiles, SMALL_BYTES } from "../files.ts";
import type { Handlers } from "../operations.ts";
import type { Document, Request } from "../store.ts";

const BLOCK_BYTES = 1 << 20;

type Piece = { path: string; bytes: number };

/** The files whose bytes, one behind the other, are a version of a document. */
function piecesOf(context: Context, document: Document, signed: boolean): Piece[] {
  const { uid, bytes, cleanBytes, tailBytes = 0, hashFile } = document;
  if (!signed) return [{ path: originalPath(context, uid), bytes }];
  const tail = { path: tailPath(context, uid), bytes: tailBytes };
  if (hashFile) return [tail];
  const clean = cleanBytes === undefined ? undefined : { path: cleanPath(context, uid), bytes: cleanBytes };
  return [clean ?? { path: originalPath(context, uid), bytes }, tail];
}

function typeOf(document: Document, signed: boolean): string {
  if (!document.hashFile) return "application/pdf";
  return signed ? "application/pkcs7-mime" : "application/json";
}

function send(context: Context, reply: FastifyReply, request: Request, document: Document, signed: boolean) {
  const pieces = piecesOf(context, document, signed);
  const bytes = pieces.reduce((sum, piece) => sum + piece.bytes, 0);
  note(context, signed ? "download-signed" : "download-original", request, {
    document_uid: document.uid,
    sha256: signed && document.signedSha256 ? document.signedSha256 : document.sha256,
    bytes,
  });
  reply.header("content-type", typeOf(document, signed)).header("content-length", bytes);
  if (pieces.every((piece) => piece.bytes <= SMALL_BYTES))
    return reply.send(Buffer.concat(pieces.map(({ path }) => readFileSync(path))));
  async function* read(): AsyncGenerator<Buffer> {
    for (const { path } of pieces)
      for await (const piece of createReadStream(path, { highWaterMark: BLOCK_BYTES })) yield piece as Buffer;
  }
  return reply.send(Readable.from(read(), { objectMode: false, highWaterMark: BLOCK_BYTES }));
}

function find(context: Context, call: FastifyRequest): { request: Request; document: Document } {
  const request = context.store.requests.get(pathInteger(call.params, "request_pk"));
  const document = request?.documents.get(pathText(call.params, "document_uid"));
  if (!request || !document) throw new Refusal(404, "Document not found");
  return { request, document };
}

const has = (document: Document, version: Version): boolean =>
  version === "signed" ? document.tailBytes !== undefined : document.originalDeleted !== true;

type Version = "signed" | "original";

function download(context: Context, call: FastifyRequest, reply: FastifyReply, version: Version): FastifyReply {
  const { request, document } = find(context, call);
  if (!has(document, version)) throw new Refusal(404, "Document not found");
  return send(context, reply, request, document, version === "signed");
}

function removeDocuments(context: Context, request: Request, uids: string[]): void {
  for (const uid of uids) request.documents.delete(uid);
  removeFiles(filesOf(context, uids));
}

/** The first generation deletes what was uploaded and what was signed apart; the bytes go with the last of them. */
function removeVersion(context: Context, request: Request, document: Document, version: Version): void {
  if (!has(document, version))
    throw new Refusal(404, `Document not found with uid ${document.uid} and type ${version}`);
  if (version === "signed") {
    delete document.tailBytes;
    removeFiles([tailPath(context, document.uid)]);
  } else document.originalDeleted = true;
  if (!has(document, "signed") && !has(document, "original")) removeDocuments(context, request, [document.uid]);
  note(context, "delete-document", request, { document_uid: document.uid, reason: version });
}

const uploadDate = (at: number): string => {
  const [day = "", time = ""] = new Date(at).toISOString().slice(0, 19).split("T");
  return `${day.split("-").toReversed().join("/")} ${time}`;
};

export const documentHandlers = (context: Context) =>
  ({
    getSignedDocument(call, reply, generation) {
      if (generation === "newest" && context.settings.retrieval === "reference") throw new NoSuchRoute();
      return download(context, call, reply, "signed");
    },

    getOriginalDocument: (call, reply) => download(context, call, reply, "original"),

    getDocument(call, reply) {
      if (context.settings.retrieval === "seed") throw new NoSuchRoute("DELETE");
      // The default is not documented; the original is the one a caller who forgot the parameter notices.
      const version = (call.query as Record<string, string | undefined>)["document_type"] ?? "original";
      if (version !== "signed" && version !== "original") {
        throw violation("enum", "document_type", "Input should be 'signed' or 'original'", "query");
      }
      return download(context, call, reply, version);
    },

    async deleteDocument(call, _reply, generation) {
      const { request, document } = find(context, call);
      await request.signing?.catch(() => undefined);
      if (!request.documents.has(document.uid)) throw new Refusal(404, "Document not found");
      if (generation === "first") {
        removeVersion(context, request, document, /\/signed\//.test(call.url) ? "signed" : "original");
      } else {
        removeDocuments(context, request, [document.uid]);
        note(context, "delete-document", request, { document_uid: document.uid });
      }
      return said("Document successfully deleted");
    },

    async deleteAllDocuments(call) {
      const pk = pathInteger(call.params, "request_pk");
      const request = context.store.requests.get(pk);
      await request?.signing?.catch(() => undefined);
      if (!request || request.documents.size === 0) throw new Refusal(404, "No documents found for specified Request");
      removeDocuments(context, request, [...request.documents.keys()]);
      note(context, "delete-all", request);
      return said(`Documents deleted for Request ${pk}`);
    },

    listDocuments(call) {
      const request = context.store.requests.get(pathInteger(call.params, "request_pk"));
      if (!request || request.documents.size === 0) throw new Refusal(404, "No documents found for specified Request");
      const row = (document: Document): Record<string, unknown> => ({
        upload_date: uploadDate(document.uploadedAt),
        ext: document.hashFile ? ".json" : ".pdf",
        size: document.bytes,
        mime: typeOf(document, false),
        filename: document.filename,
      });
      return gave(Object.fromEntries([...request.documents].map(([uid, document]) => [uid, row(document)])));
    },
  }) satisfies Handlers;
