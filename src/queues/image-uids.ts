import type { Redis } from "ioredis";
import { ImageUid } from "../core/signing.ts";
import type { Keys } from "./keys.ts";

/** What an image is called at the provider, and when it was last seen there. */
export interface KnownImage {
  uid: ImageUid;
  seenMs: number;
}

export type ImageUids = ReturnType<typeof createImageUids>;

/**
 * Remembers for all processes what images are called at the provider, by a print of the provider and the image's bytes.
 * Nothing but a memory: what is forgotten is stored there once more.
 */
export function createImageUids({ redis, keys }: { redis: Redis; keys: Keys }) {
  return {
    async find(print: string): Promise<KnownImage | undefined> {
      const [text = "", seen] = (await redis.hget(keys.images, print))?.split("|") ?? [];
      const uid = ImageUid.safeParse(text).data;
      return uid === undefined ? undefined : { uid, seenMs: Number(seen) };
    },
    async keep(print: string, { uid, seenMs }: KnownImage): Promise<void> {
      await redis.hset(keys.images, print, `${uid}|${seenMs}`);
    },
    async forget(print: string): Promise<void> {
      await redis.hdel(keys.images, print);
    },
  };
}
