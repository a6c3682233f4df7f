import { readFileSync } from "node:fs";
import type { FastifyRequest } from "fastify";
import { pathText } from "../bodies.ts";
import type { Context } from "../context.ts";
import { gave, Refusal, said } from "../envelopes.ts";
import { removeFiles, writeSmall } from "../files.ts";
import type { Generation, Handlers } from "../operations.ts";
import { isPng, pngSize, readPng } from "../pdf/png.ts";
import { checkFields } from "../schema.ts";
import type { Image } from "../store.ts";
import { newUid } from "../uploads.ts";

const MAX_IMAGE_BYTES = 20 * 1024 * 1024;

/** Throws the refusal of a call without an image. */
function missed({ settings }: Context, generation: Generation): never {
  if (generation === "newest") checkFields(settings, "uploadImage", {});
  throw new Refusal(400, "Missing required parameter: 'image'");
}

async function receive(context: Context, call: FastifyRequest, generation: Generation): Promise<Image> {
  if (!call.isMultipart()) return missed(context, generation);
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
  return missed(context, generation);
}

const pathOf = (context: Context, uid: string): string => `${context.imagesFolder}/${uid}.png`;

/** @source docs/provider.md §Images */
export const imageHandlers = (context: Context) => {
  const { images } = context.store;
  const remove = (uid: string): void => {
    images.delete(uid);
    context.kept.save("image", uid, undefined);
    removeFiles([pathOf(context, uid)]);
    context.ledger.add("delete-image", { document_uid: uid });
  };
  const row = (image: Image): Record<string, unknown> => ({
    upload_date: `${new Date(image.uploadedAt).toISOString().slice(0, 23).replace("T", " ")}000`,
    ext: ".png",
    size: image.size,
    mime: "image/png",
    filename: image.filename,
  });
  return {
    async uploadImage(call, _reply, generation) {
      const image = await receive(context, call, generation);
      if (context.settings.loseImages) removeFiles([pathOf(context, image.uid)]);
      else {
        images.set(image.uid, image);
        context.kept.save("image", image.uid, image);
      }
      context.ledger.add("image", { document_uid: image.uid, bytes: image.bytes });
      return gave({ image_uid: image.uid }, { message: `Image uploaded with uid '${image.uid}'`, first: image.uid });
    },

    getImage(call, reply) {
      const uid = pathText(call.params, "image_uid");
      if (!images.has(uid)) throw new Refusal(404, `Image with uid ${uid} not found`);
      return reply.header("content-type", "image/png").send(readFileSync(pathOf(context, uid)));
    },

    deleteImage(call) {
      const uid = pathText(call.params, "image_uid");
      if (!images.has(uid)) throw new Refusal(404, `Image with uid ${uid} not found on disk`);
      remove(uid);
      return said("Image deleted");
    },

    listImages: () => gave(Object.fromEntries([...images].map(([uid, image]) => [uid, row(image)]))),

    deleteAllImages() {
      for (const uid of [...images.keys()]) remove(uid);
      return said("Images deleted successfully");
    },
  } satisfies Handlers;
};
