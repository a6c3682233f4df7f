import { createReadStream } from "node:fs";
import type { FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { objectBody, required, violation } from "../bodies.ts";
import { guard, identityPath, move, note, videoPath } from "../context.ts";
import type { Context } from "../context.ts";
import { NoSuchRoute, Refusal, said, SchemaViolation } from "../envelopes.ts";
import { removeFiles, writeSmall } from "../files.ts";
import type { Generation, Handlers } from "../operations.ts";
import { mayMove } from "../states.ts";
import type { IdentityImage, Request } from "../store.ts";
import { newUid, saveFile, typeOf } from "../uploads.ts";
import { videoidOf } from "./videoid.ts";

const IMAGES = ["document_front", "document_rear", "document_photo", "document_owner"] as const;
const BASE64 = /^[A-Za-z0-9+/\s]*={0,2}$/;

/** Objects that integrators may add to. @source docs/provider.md §Evidences */
const EVIDENCES = z.looseObject({
  acceptance: z.looseObject({ date: z.union([z.string(), z.number()]).optional() }).optional(),
  videoid_data: z.looseObject({
    images: z.partialRecord(z.enum(IMAGES), z.string().regex(BASE64)).default({}),
    ocr_data: z.looseObject({
      given_name: z.string().min(1),
      surname_1: z.string().min(1),
      surname_2: z.string().optional(),
      serial_number: z.string().min(1),
      id_document_type: z.enum(["IDC", "PAS", "PNO", "TIN"]).optional(),
      id_document_country: z.string().length(2).optional(),
    }),
    security_checks: z.record(z.string(), z.boolean()).default({}),
    similarity_level: z.union([z.int().min(0).max(100), z.string()]).optional(),
  }),
});
type Evidences = z.output<typeof EVIDENCES>;

function evidencesFrom(body: unknown): Evidences {
  const parsed = EVIDENCES.safeParse(objectBody(body));
  if (parsed.success) return parsed.data;
  throw new SchemaViolation(
    ...parsed.error.issues.map(({ code, path, message }) => {
      const loc = ["body", ...path.map((step) => (typeof step === "symbol" ? String(step) : step))];
      const isMissing = code === "invalid_type" && message.endsWith("received undefined");
      return isMissing ? { type: "missing", loc, msg: "Field required" } : { type: code, loc, msg: message };
    }),
  );
}

function keepImages(context: Context, given: Evidences["videoid_data"]["images"]): IdentityImage[] {
  return IMAGES.flatMap((name) => {
    const text = given[name];
    if (text === undefined || text === "") return [];
    const bytes = Buffer.from(text, "base64");
    const uid = newUid();
    writeSmall(identityPath(context, uid), bytes);
    return [{ name, uid, type: typeOf(bytes, "image") ?? "application/octet-stream" }];
  });
}

/**
 * Where the request goes with what has come so far. All parts make it ready for review, some make it incomplete, and a
 * check that did not hold makes it fail. @source docs/provider.md §Evidences
 */
function settle(context: Context, request: Request): void {
  const { externalOutcome } = context.settings;
  const { evidence, video } = request;
  const failed = externalOutcome === "error" || evidence?.failed !== undefined || video?.bytes === 0;
  const whole = evidence?.whole === true && video !== undefined && externalOutcome !== "incomplete";
  const step = failed ? "fail" : whole ? "complete" : "leave";
  if (mayMove(request.status, step)) move(context, request, step);
}

function takeEvidences(context: Context, request: Request, { videoid_data: data }: Evidences): void {
  const images = keepImages(context, data.images);
  const { given_name, surname_1, surname_2, serial_number, id_document_type, id_document_country } = data.ocr_data;
  const failedCheck = Object.entries(data.security_checks).find(([, held]) => !held)?.[0];
  const has = (name: string): boolean => images.some((one) => one.name === name);
  removeFiles(request.identityImages.map(({ uid }) => identityPath(context, uid)));
  request.identityImages = images;
  request.identified = true;
  request.person = {
    given_name,
    surname_1,
    ...(surname_2 !== undefined && { surname_2 }),
    serial_number,
    id_document_type: id_document_type ?? "IDC",
    id_document_country: id_document_country ?? "ES",
  };
  request.evidence = {
    // Without these two there is nothing to compare.
    whole: has("document_front") && has("document_owner"),
    ...(data.similarity_level !== undefined && { similarity: data.similarity_level }),
    ...(failedCheck !== undefined && { failed: failedCheck }),
  };
}

async function takeVideo(context: Context, call: FastifyRequest, request: Request): Promise<void> {
  if (!call.isMultipart()) throw violation("missing", "video", "Field required");
  let video: Request["video"];
  for await (const part of call.parts()) {
    if (part.type !== "file") continue;
    if (part.fieldname !== "video" || video) {
      part.file.resume();
      continue;
    }
    const path = videoPath(context, request.pk);
    removeFiles([path]);
    let type = "application/octet-stream";
    const look = (start: Buffer): boolean => ((type = typeOf(start, "video") ?? part.mimetype), true);
    const saved = await saveFile(part.file, path, look);
    if (saved) video = { bytes: saved.bytes, sha256: saved.sha256, type };
  }
  request.video = required(video, "video");
}

function sendVideo(context: Context, reply: FastifyReply, request: Request): FastifyReply {
  const { video } = request;
  if (!video) throw new Refusal(404, "Request not found", true);
  note(context, "download-video", request, { bytes: video.bytes, sha256: video.sha256 });
  reply.header("content-type", "video/mp4").header("content-length", video.bytes);
  return reply.send(createReadStream(videoPath(context, request.pk)));
}

/** Whether this form of the path is served. */
function checkPath({ settings: { videoPath: form } }: Context, call: FastifyRequest, generation: Generation): void {
  if (generation === "first") return;
  const used = /\/download\/video\/?(\?|$)/.test(call.url) ? "download" : "plain";
  if (form !== "both" && form !== used) throw new NoSuchRoute(used === "plain" ? "POST" : undefined);
}

/** VideoID External: an identification that was done elsewhere. */
export const externalHandlers = (context: Context) =>
  ({
    uploadEvidences(call, _reply, generation) {
      const evidences = evidencesFrom(call.body);
      const request = videoidOf(context, call, generation);
      guard(request, "evidence");
      takeEvidences(context, request, evidences);
      settle(context, request);
      note(context, "evidences", request, { status: request.status });
      return said("Videoid evidences uploaded");
    },

    async uploadVideo(call, _reply, generation) {
      const request = videoidOf(context, call, generation);
      guard(request, "evidence");
      await takeVideo(context, call, request);
      guard(request, "evidence");
      settle(context, request);
      const { bytes, sha256 } = request.video ?? { bytes: 0, sha256: "" };
      note(context, "video", request, { status: request.status, bytes, sha256 });
      return said("Videoid video upload completed");
    },

    downloadVideo(call, reply, generation) {
      checkPath(context, call, generation);
      return sendVideo(context, reply, videoidOf(context, call, generation));
    },
  }) satisfies Handlers;
