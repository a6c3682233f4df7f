import type { FastifyReply, FastifyRequest } from "fastify";
import { Readable } from "node:stream";
import { z } from "zod";
import type { RequestId, ResultFile } from "../../core/request.ts";
import { FormatFact } from "../../core/signing.ts";
import { isFresh } from "./fresh.ts";
import { toContentDisposition } from "./names.ts";
import type { ApiParts, Server } from "./ports.ts";
import { ApiError } from "./problem.ts";
import { IdParams, toId } from "./requests.ts";
import { contractFile, signedFiles, toView } from "./view.ts";

type Parts = Pick<ApiParts, "pipeline" | "results">;

const PDF = "application/pdf";
/** @source RFC 8551 §3.2.1 */
const CMS = "application/pkcs7-mime; smime-type=signed-data";

/** Adds the calls that hand out what the pipeline made. */
export function addDownloads(app: Server, parts: Parts): void {
  const { pipeline } = parts;
  const headers = { ETag: "SHA-256 of the file.", "Content-Disposition": "The file name to save it under." };

  app.get(
    "/v1/requests/:id/contract",
    {
      schema: {
        operationId: "getContract",
        summary: "Download the service contract",
        description: "The PDF with the terms that the signer accepts, once the provider has made it.",
        tags: ["Results"],
        params: IdParams,
        "x-answers": { 200: { description: "The PDF.", contentType: PDF, headers } },
        "x-problems": ["no-such-request", "not-signed-yet", "result-damaged"],
      },
    },
    async (request, reply) => {
      const id = toId(request.params.id);
      const file = contractFile(await pipeline.get(id));
      if (!file)
        throw new ApiError("not-signed-yet", "The contract is not there yet; it comes before the signer's code.");
      return await send(request, reply, { ...parts, id, file, saveAs: file.name, type: PDF });
    },
  );

  app.get(
    "/v1/requests/:id/documents/:n/signed",
    {
      schema: {
        operationId: "getSignedDocument",
        summary: "Download a signed document",
        description:
          "The signed PDF of document n, counted from 1 in the order in which the documents were sent. With " +
          "signature.format cms: the detached signature over it, in DER.",
        tags: ["Results"],
        params: IdParams.extend({ n: z.string().describe("Number of the document, from 1.") }),
        "x-answers": { 200: { description: "The signed PDF, or the signature.", contentType: [PDF, CMS], headers } },
        "x-problems": ["no-such-request", "no-such-document", "not-signed-yet", "result-damaged"],
      },
    },
    async (request, reply) => {
      const id = toId(request.params.id);
      const record = await pipeline.get(id);
      const { documents, state } = toView(record);
      const n = /^[1-9]\d?$/.test(request.params.n) ? Number(request.params.n) : 0;
      const document = documents[n - 1];
      if (!document) {
        const range = documents.length === 1 ? "one document: number 1" : `documents 1 to ${documents.length}`;
        throw new ApiError("no-such-document", `The request has ${range}.`);
      }
      const file = signedFiles(record)[n - 1];
      if (!file) throw new ApiError("not-signed-yet", `Document ${n} is not signed; the request is ${state}.`);
      if (FormatFact.parse(record.facts["format"]) === "cms") {
        return await send(request, reply, { ...parts, id, file, saveAs: file.name, type: CMS });
      }
      return await send(request, reply, { ...parts, id, file, saveAs: toSignedName(document.name), type: PDF });
    },
  );
}

function toSignedName(name: string): string {
  return `${name.replace(/\.pdf$/i, "")}.signed.pdf`;
}

interface Sending extends Parts {
  id: RequestId;
  file: ResultFile;
  saveAs: string;
  type: string;
}

async function send(request: FastifyRequest, reply: FastifyReply, { results, id, file, saveAs, type }: Sending) {
  const etag = `"${file.sha256}"`;
  void reply.header("etag", etag).header("cache-control", "private, no-cache");
  if (isFresh(request.headers["if-none-match"], etag)) return await reply.code(304).send();
  const { content, sizeBytes } = await results.open(id, file.name).catch((error: unknown) => {
    request.log.error({ requestId: id, err: error }, "stored result not readable");
    throw damaged();
  });
  if (sizeBytes !== file.sizeBytes) {
    content.destroy();
    request.log.error({ requestId: id, sizeBytes, recordedBytes: file.sizeBytes }, "stored result has another size");
    throw damaged();
  }
  void reply
    .code(200)
    .type(type)
    .header("content-length", sizeBytes)
    .header("content-disposition", toContentDisposition(saveAs))
    .header("accept-ranges", "none");
  if (request.method === "HEAD") {
    content.destroy();
    // An empty stream: anything else would have its own length announced.
    return await reply.send(Readable.from([]));
  }
  return await reply.send(content);
}

function damaged(): ApiError {
  return new ApiError(
    "result-damaged",
    "The stored file is not what was stored. It was logged; an operator must look.",
  );
}
