import { readFileSync } from "node:fs";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { pathText } from "../bodies.ts";
import type { Context } from "../context.ts";
import { Refusal, success, successWith } from "../envelopes.ts";
import { removeFiles, writeSmall } from "../files.ts";
import { isPng, pngSize, readPng } from "../pdf/png.ts";
import type { Image } from "../store.ts";
import { newUid } from "../uploads.ts";

const MAX_IMAGE_BYTES = 20 * 1024 * 1024;

async function receive(context: Context, call: FastifyRequest): Promise<Image> {
  if (!call.isMultipart()) throw new Refusal(400, "Missing required parameter: 'image'");
  for await (const part of call.parts({ limits: { fileSize: MAX_IMAGE_BYTES } })) {
    if (part.type !== "file") continue;
    const bytes = await part.toBuffer();
    if (part.fieldname !== "image") continue;
    if (!isPng(bytes)) {
      const type = part.mimetype === "image/png" ? "application/octet-stream" : part.mimetype;
      throw new Refusal(415, `Image file type not supported: ${type}`);
    }
    if (!readPng(bytes)) throw new Refusal(415, "Image file type not supported: interlaced image/png");
    const uid = newUid();
    writeSmall(pathOf(context, uid), bytes);
    return { uid, filename: part.filename, bytes: bytes.length, size: pngSize(bytes), uploadedAt: context.clock.now() };
  }
  throw new Refusal(400, "Missing required parameter: 'image'");
}

const pathOf = (context: Context, uid: string): string => `${context.imagesFolder}/${uid}.png`;

/** @source docs/provider.md §Images */
export function imageRoutes(app: FastifyInstance, context: Context): void {
  const { images } = context.store;

  app.post("/image", { config: { operation: "uploadImage" } }, async (call, reply) => {
    const image = await receive(context, call);
    images.set(image.uid, image);
    context.ledger.add("image", { document_uid: image.uid, bytes: image.bytes });
    return reply.send(successWith({ image_uid: image.uid }, `Image uploaded with uid '${image.uid}'`));
  });

  app.get("/image/:image_uid", { config: { operation: "getImage" } }, (call, reply) => {
    const uid = pathText(call.params, "image_uid");
    if (!images.has(uid)) throw new Refusal(404, `Image with uid ${uid} not found`);
    return reply.header("content-type", "image/png").send(readFileSync(pathOf(context, uid)));
  });

  app.delete("/image/:image_uid", { config: { operation: "deleteImage" } }, (call, reply) => {
    const uid = pathText(call.params, "image_uid");
    if (!images.delete(uid)) throw new Refusal(404, `Image with uid ${uid} not found on disk`);
    context.ledger.add("delete-image", { document_uid: uid });
    removeFiles([pathOf(context, uid)]);
    return reply.send(success("Image deleted"));
  });

  app.get("/images", { config: { operation: "listImages" } }, (_call, reply) => {
    const row = (image: Image): Record<string, unknown> => ({
      upload_date: `${new Date(image.uploadedAt).toISOString().slice(0, 23).replace("T", " ")}000`,
      ext: ".png",
      size: image.size,
      mime: "image/png",
      filename: image.filename,
    });
    return reply.send(successWith(Object.fromEntries([...images].map(([uid, image]) => [uid, row(image)]))));
  });

  app.delete("/images", { config: { operation: "deleteAllImages" } }, (_call, reply) => {
    const uids = [...images.keys()];
    images.clear();
    removeFiles(uids.map((uid) => pathOf(context, uid)));
    return reply.send(success("Images deleted successfully"));
  });
}
