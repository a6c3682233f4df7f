import type { FastifyReply, FastifyRequest } from "fastify";
import { once } from "node:events";
import { Readable } from "node:stream";
import { z } from "zod";
import { PermanentError, RetryableError } from "../../core/errors.ts";
import { ENCLOSURES, fileNameOf } from "../../core/identity.ts";
import { VideoIdPk } from "../../core/signing.ts";
import { typeOfHead } from "../../files/enclosure.ts";
import { toContentDisposition } from "./names.ts";
import type { ApiParts, Server } from "./ports.ts";
import { ApiError } from "./problem.ts";
import { IdParams, toId } from "./requests.ts";
import { enclosuresOf } from "./view.ts";

type Parts = Pick<ApiParts, "pipeline" | "shown">;

const HEADERS = { "Content-Disposition": "The file name to save it under; it says nothing about the signer." };
const PkOf = z.object({ videoidPk: VideoIdPk });

/**
 * Adds what an officer looks at before deciding: the files that were handed in, and the film at the provider. Nothing
 * of them is kept on the way, here or in a cache.
 */
export function addShown(app: Server, { pipeline, shown }: Parts): void {
  app.get(
    "/v1/requests/:id/enclosures/:name",
    {
      schema: {
        operationId: "getEnclosure",
        summary: "Look at a file of the identification",
        description:
          "What was handed in to show who the signer is, for whoever decides. It is erased with the end of the request.",
        tags: ["Acting"],
        params: IdParams.extend({ name: z.string().describe(`What it shows: ${ENCLOSURES.join(", ")}.`) }),
        "x-answers": { 200: { description: "The file.", contentType: "application/octet-stream", headers: HEADERS } },
        "x-problems": ["no-such-request", "no-such-enclosure", "result-damaged"],
      },
    },
    async (request, reply) => {
      const id = toId(request.params.id);
      const file = enclosuresOf(await pipeline.get(id)).find(({ name }) => name === request.params.name);
      if (!file) throw new ApiError("no-such-enclosure", "The request was not handed in with such a file.");
      const { content, sizeBytes } = await shown.enclosure(file).catch((error: unknown) => {
        const isGone = error instanceof PermanentError && error.code === "document-gone";
        if (!isGone) throw error;
        throw new ApiError("no-such-enclosure", "The file is not kept any more: the request is over.");
      });
      if (sizeBytes !== file.sizeBytes) {
        content.destroy();
        request.log.error({ requestId: id, sizeBytes, recordedBytes: file.sizeBytes }, "enclosure has another size");
        throw new ApiError("result-damaged", "The stored file is not what was stored. It was logged.");
      }
      return await send(request, reply, { content, sizeBytes, type: file.contentType, saveAs: fileNameOf(file) });
    },
  );

  app.get(
    "/v1/requests/:id/video",
    {
      schema: {
        operationId: "getVideo",
        summary: "Look at the video of the identification",
        description: "The film as the provider has it, for whoever decides. It is passed on and not kept.",
        tags: ["Acting"],
        params: IdParams,
        "x-answers": { 200: { description: "The film.", contentType: "video/mp4", headers: HEADERS } },
        "x-problems": ["no-such-request", "no-video", "video-unavailable"],
      },
    },
    async (request, reply) => {
      const { facts } = await pipeline.get(toId(request.params.id));
      const known = PkOf.safeParse(facts);
      if (!known.success) throw noVideo("This request has no video identification at the provider (yet).");
      const gone = new AbortController();
      request.raw.once("close", () => gone.abort());
      const { body, declaredBytes } = await shown.video(known.data.videoidPk, gone.signal).catch((error: unknown) => {
        throw toVideoError(error);
      });
      const type = typeOfHead(await peekAt(body));
      const saveAs = fileNameOf({ name: "video", contentType: type });
      return await send(request, reply, { content: body, sizeBytes: declaredBytes, type, saveAs });
    },
  );
}

interface Sending {
  content: Readable;
  sizeBytes: number | undefined;
  type: string;
  saveAs: string;
}

async function send(request: FastifyRequest, reply: FastifyReply, { content, sizeBytes, type, saveAs }: Sending) {
  void reply
    .code(200)
    .type(type)
    .header("content-disposition", toContentDisposition(saveAs))
    .header("accept-ranges", "none");
  if (sizeBytes !== undefined) void reply.header("content-length", sizeBytes);
  if (request.method === "HEAD") {
    content.destroy();
    // An empty stream: anything else would have its own length announced.
    return await reply.send(Readable.from([]));
  }
  return await reply.send(content);
}

/** The first bytes of a stream, which has them still. Throws what the stream fails with before there are any. */
async function peekAt(stream: Readable): Promise<Buffer> {
  let first = stream.read() as Buffer | null;
  if (!first && !stream.readableEnded) {
    await once(stream, "readable");
    first = stream.read() as Buffer | null;
  }
  if (first) stream.unshift(first);
  return first ?? Buffer.alloc(0);
}

/** The provider's failures are told by their code: its sentences may repeat what nobody else should read. */
function toVideoError(error: unknown): unknown {
  if (!(error instanceof PermanentError) && !(error instanceof RetryableError)) return error;
  if (error.code === "not-found") return noVideo("The provider has no video of this identification (yet).");
  return new ApiError("video-unavailable", `The provider did not give the video (${error.code}); try again later.`);
}

function noVideo(detail: string): ApiError {
  return new ApiError("no-video", detail);
}
