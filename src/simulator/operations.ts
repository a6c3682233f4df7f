import type { FastifyReply, FastifyRequest } from "fastify";
import type { Answer } from "./envelopes.ts";

/** The two generations of the API; each has paths, envelopes and errors of its own. @source docs/provider.md §Sources */
export type Generation = "newest" | "first";

/** Paths under which the generations are served. @source docs/provider.md §Base path */
export const BASE_PATHS: Record<Generation, string> = { newest: "/oneshot/api/v1", first: "/api/v1" };

type Operation = { says: string; newest?: readonly string[]; first?: readonly string[] };

/**
 * Every call of the provider that is served, by the name that faults, counters and logs use, with its method and path
 * behind the base path. A form that a switch can take away is here, too: it then answers as a missing route would.
 * @source docs/provider.md §Endpoints, §Contradictions
 */
export const OPERATIONS = {
  createVideoId: { says: "Create a VideoID request", newest: ["POST /videoid"], first: ["POST /videoid"] },
  approveVideoId: {
    says: "Approve a request",
    newest: ["POST /videoid/{videoid_pk}/approve"],
    first: ["POST /request/{request_pk}/approve", "POST /requests/{request_pk}/approve"],
  },
  validateVideoId: { says: "Validate, in 2-step mode", first: ["POST /videoid/{request_pk}/validate"] },
  refuseVideoId: {
    says: "Refuse an identification",
    newest: ["POST /videoid/{videoid_pk}/refuse"],
    first: ["POST /videoid/{request_pk}/refuse"],
  },
  uploadEvidences: {
    says: "Data and images of an identification done elsewhere",
    newest: ["POST /videoid/{videoid_pk}/evidences"],
    first: ["POST /videoid/{request_pk}/evidences"],
  },
  uploadVideo: {
    says: "The video of an identification done elsewhere",
    newest: ["POST /videoid/{videoid_pk}/video"],
    first: ["POST /videoid/{request_pk}/evidences/video"],
  },
  downloadVideo: {
    says: "Download the video",
    newest: ["GET /videoid/{videoid_pk}/video", "GET /videoid/{videoid_pk}/download/video"],
    first: ["GET /videoid/{request_pk}/download/video", "GET /download/video/{request_pk}"],
  },
  createRequest: {
    says: "Create a classic, hash or asynchronous request",
    newest: ["POST /create"],
    first: ["POST /request"],
  },
  getRequest: {
    says: "Read a request",
    newest: ["GET /request/{request_pk}"],
    first: ["GET /request/{request_pk}"],
  },
  updateRequest: {
    says: "Correct a request",
    newest: ["PUT /request/{request_pk}"],
    first: ["PUT /request/{request_pk}"],
  },
  cancelRequest: {
    says: "Cancel a request",
    newest: ["DELETE /request/{request_pk}"],
    first: ["DELETE /request/{request_pk}"],
  },
  listRequests: { says: "List requests", first: ["GET /requests"] },
  uploadDocument: {
    says: "Upload PDFs or hash files",
    newest: ["POST /document/{request_pk}"],
    first: ["POST /document/{request_pk}"],
  },
  listDocuments: { says: "List documents", first: ["GET /documents/{request_pk}"] },
  getSignedDocument: {
    says: "Download a signed document",
    newest: ["GET /document/{request_pk}/signed/{document_uid}"],
    first: ["GET /document/{request_pk}/signed/{document_uid}"],
  },
  getOriginalDocument: {
    says: "Download what was uploaded",
    first: ["GET /document/{request_pk}/original/{document_uid}"],
  },
  getDocument: {
    says: "Download a document, `document_type=signed` or `original`",
    newest: ["GET /document/{request_pk}/{document_uid}"],
  },
  deleteDocument: {
    says: "Delete one document",
    newest: ["DELETE /document/{request_pk}/{document_uid}"],
    first: [
      "DELETE /document/{request_pk}/original/{document_uid}",
      "DELETE /document/{request_pk}/signed/{document_uid}",
    ],
  },
  deleteAllDocuments: {
    says: "Delete all documents of a request",
    newest: ["DELETE /document/{request_pk}"],
    first: ["DELETE /documents/{request_pk}"],
  },
  getContract: {
    says: "The service contract as PDF",
    newest: ["GET /contract/{request_pk}"],
    first: ["GET /document/{request_pk}/contract"],
  },
  generateOtp: {
    says: "Send the signer a code",
    newest: ["POST /otp/{request_pk}"],
    first: ["POST /otp/{request_pk}"],
  },
  sign: {
    says: "Sign all documents of a request",
    newest: ["POST /sign/{request_pk}"],
    first: ["POST /sign/{request_pk}"],
  },
  signAsync: { says: "Sign later, whatever the creation said", first: ["POST /async/sign/{request_pk}"] },
  asyncStatus: { says: "How far asynchronous signing is", first: ["GET /async/status/{request_pk}"] },
  createToken: { says: "Store credentials of a RAO", newest: ["POST /token"], first: ["POST /token"] },
  getToken: { says: "Read a token", newest: ["GET /token/{token_uid}"], first: ["GET /token/{token_uid}"] },
  deleteToken: { says: "Delete a token", newest: ["DELETE /token/{token_uid}"], first: ["DELETE /token/{token_uid}"] },
  listTokens: { says: "List tokens", newest: ["GET /tokens"], first: ["GET /tokens"] },
  uploadImage: { says: "Upload a PNG for visible signatures", newest: ["POST /image"], first: ["POST /image"] },
  getImage: { says: "Download an image", newest: ["GET /image/{image_uid}"], first: ["GET /image/{image_uid}"] },
  deleteImage: { says: "Delete an image", newest: ["DELETE /image/{image_uid}"], first: ["DELETE /image/{image_uid}"] },
  listImages: { says: "List images", newest: ["GET /images"], first: ["GET /images"] },
  deleteAllImages: { says: "Delete all images", newest: ["DELETE /images"], first: ["DELETE /images"] },
  getSettings: { says: "Read the Optimizer's settings", newest: ["GET /settings"], first: ["GET /settings"] },
  saveSettings: { says: "Change the Optimizer's settings", newest: ["POST /settings"], first: ["POST /settings"] },
  createMetadata: { says: "Store metadata for signatures", first: ["POST /metadata"] },
  listMetadata: { says: "List metadata", first: ["GET /metadata"] },
  deleteAllMetadata: { says: "Delete all metadata", first: ["DELETE /metadata"] },
  getMetadata: { says: "Read metadata", first: ["GET /metadata/{metadata_uid}"] },
  deleteMetadata: { says: "Delete metadata", first: ["DELETE /metadata/{metadata_uid}"] },
  hello: { says: "Whether anybody is there", first: ["GET /hello"] },
  version: { says: "What is running", first: ["GET /version"] },
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof OPERATIONS;

/** Does an operation's work. A refusal is thrown; bytes are sent with `reply`; everything else is an Answer. */
export type Handler = (
  call: FastifyRequest,
  reply: FastifyReply,
  generation: Generation,
) => Answer | FastifyReply | Promise<Answer | FastifyReply>;

/** The handlers of one area; app.ts puts the areas together, and the compiler sees to it that none is missing. */
export type Handlers = Partial<Record<OperationName, Handler>>;

/** Method and path, as routers write it, of each form of an operation in a generation. */
export function formsOf(operation: OperationName, generation: Generation): { method: string; url: string }[] {
  const forms = (OPERATIONS[operation] as Operation)[generation] ?? [];
  return forms.map((form) => {
    const [method = "", path = ""] = form.split(" ");
    return { method, url: path.replaceAll(/\{(\w+)\}/g, ":$1") };
  });
}
