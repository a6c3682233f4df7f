import type { MultipartFile } from "@fastify/multipart";
import type { FastifyRequest } from "fastify";
import { pathInteger, required, violation } from "../bodies.ts";
import { guard, note, originalPath, requestOr } from "../context.ts";
import type { Context } from "../context.ts";
import { gave, Refusal } from "../envelopes.ts";
import type { Answer } from "../envelopes.ts";
import { removeFiles } from "../files.ts";
import { HASH_FILE_BYTES, readHashFile } from "../hash-file.ts";
import type { Handlers } from "../operations.ts";
import type { Document, HashFile, Request } from "../store.ts";
import { looksLikePdf, newUid, saveFile } from "../uploads.ts";

/** Names of the form parts that carry a PDF: file, file2, file3, ...; and the same for hashes. */
const PDF_PART = /^file([2-9]|[1-9]\d+)?$/;
const HASH_PART = /^hashfile([2-9]|[1-9]\d+)?$/;

/** Takes one document, or says why not. @source docs/provider.md §Upload documents, §Hash */
async function take(context: Context, part: MultipartFile): Promise<Document | Refusal> {
  const uid = newUid();
  const path = originalPath(context, uid);
  const isHash = HASH_PART.test(part.fieldname);
  let hashFile: HashFile | undefined;
  const readsHash = (start: Buffer): boolean =>
    start.length <= HASH_FILE_BYTES && (hashFile = readHashFile(start.toString("utf8"))) !== undefined;
  const saved = await saveFile(part.file, path, isHash ? readsHash : looksLikePdf);
  if (saved) {
    const { bytes, sha256, hash } = saved;
    const facts = { uid, part: part.fieldname, filename: part.filename, bytes, sha256 };
    const more = hashFile ? { hashFile } : { hash };
    return { ...facts, uploadedAt: context.clock.now(), ...more };
  }
  const claimed = isHash ? "application/json" : "application/pdf";
  const type = part.mimetype === claimed ? "application/octet-stream" : part.mimetype;
  return new Refusal(415, `Unsupported file type: ${type}`);
}

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
    if (refusal || !(PDF_PART.test(part.fieldname) || HASH_PART.test(part.fieldname))) {
      part.file.resume();
      continue;
    }
    const taken = await take(context, part);
    if (taken instanceof Refusal) refusal = taken;
    else received.push(taken);
  }
  if (refusal) throw refusal;
  required(received[0], "file");
}

function answerOf({ settings }: Context, documents: Document[]): Answer {
  const row = ({ sha256, uid, part, filename }: Document) => ({ digest: sha256, uid, key: part, filename });
  // The first generation did not answer in the order of the upload.
  const first = documents.length === 1 ? documents[0]?.uid : documents.toReversed().map(row);
  const { uploadShape: shape } = settings;
  const coded = shape === "coded" ? { errorCode: null, errorMessage: null } : {};
  const detail = documents.map(({ part, uid }) => ({ name: part, uid, ...coded }));
  const answer = gave(detail.length === 1 && shape === "new" ? detail[0] : detail, { key: "detail", first });
  return shape === "old" ? { ...answer, as: "first" } : answer;
}

export const uploadHandlers = (context: Context) =>
  ({
    async uploadDocument(call) {
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
        note(context, "upload", request, { document_uid: uid, sha256, bytes });
      }
      return answerOf(context, received);
    },
  }) satisfies Handlers;
