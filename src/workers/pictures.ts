import { finished } from "node:stream/promises";
import { isFailure, PermanentError, RetryableError, toFailure } from "../core/errors.ts";
import type { ImageUid, Picture } from "../core/signing.ts";
import type { Provider } from "../provider/client.ts";
import type { ImageUids } from "../queues/image-uids.ts";

/** One that was seen there so lately is not looked for again. */
const SEEN_MS = 10 * 60_000;

export type Pictures = ReturnType<typeof createPictures>;

/**
 * Has the images of visible signatures stored at the provider, each once for all requests, and again when it has lost
 * one. Storing an image twice costs a little room and nothing else, so that after silence it is simply done again.
 * @source docs/provider.md §Images
 */
export function createPictures({
  provider,
  uids,
  open,
  print,
  now = Date.now,
}: {
  provider: Pick<Provider, "uploadImage" | "getImage">;
  uids: ImageUids;
  /** The bytes of an image. */
  open: (picture: Picture) => AsyncIterable<Buffer>;
  /** Tells images apart, and the providers that they are at. */
  print: (picture: Picture) => string;
  now?: () => number;
}) {
  const underWay = new Map<string, Promise<ImageUid>>();

  async function store(picture: Picture, signal: AbortSignal): Promise<ImageUid> {
    const { sha256, sizeBytes } = picture;
    // Not under the operator's name for it, which may be a person's.
    const file = { name: `${sha256.slice(0, 16)}.png`, contentType: "image/png" as const, sizeBytes, sha256 };
    const uid = await provider.uploadImage({ ...file, open: () => open(picture) }, { signal });
    await uids.keep(print(picture), { uid, seenMs: 0 });
    return uid;
  }

  /** Many requests have the same image: what one of them has under way, the others wait for. */
  async function storeOnce(picture: Picture, signal: AbortSignal): Promise<ImageUid> {
    const name = print(picture);
    const storing = underWay.get(name) ?? store(picture, signal).finally(() => underWay.delete(name));
    underWay.set(name, storing);
    return await storing.catch(asHarmless);
  }

  async function isThere(uid: ImageUid, signal: AbortSignal): Promise<boolean> {
    try {
      const { body } = await provider.getImage(uid, { signal });
      await finished(body.resume());
      return true;
    } catch (error) {
      if (isFailure(error, "not-found")) return false;
      // Where images cannot be asked for at all, the uid that was given is all there is.
      if (isFailure(error, "call-unknown")) return true;
      return asHarmless(error);
    }
  }

  return {
    /**
     * What the image is called at the provider, where it was stored if need be. Throws what the provider's calls throw,
     * as failures without an effect.
     */
    async uidOf(picture: Picture, signal: AbortSignal): Promise<ImageUid> {
      return (await uids.find(print(picture)))?.uid ?? (await storeOnce(picture, signal));
    },

    /**
     * Makes sure that the image can be had at the provider, before anybody is asked for a code. Throws RetryableError
     * "image-lost" when one that was just stored is not there.
     */
    async makeSure(picture: Picture, signal: AbortSignal): Promise<void> {
      const known = await uids.find(print(picture));
      if (known && now() - known.seenMs < SEEN_MS) return;
      const uid = known && (await isThere(known.uid, signal)) ? known.uid : await storeOnce(picture, signal);
      if (uid !== known?.uid && !(await isThere(uid, signal))) {
        await uids.forget(print(picture));
        throw new RetryableError("The provider has lost the image that it was just given", { code: "image-lost" });
      }
      await uids.keep(print(picture), { uid, seenMs: now() });
    },

    /** The provider does not have the image any more under what it was called. */
    forget: (picture: Picture): Promise<void> => uids.forget(print(picture)),
  };
}

/** Whatever became of the call, nothing has to be settled before it is made again. */
function asHarmless(thrown: unknown): never {
  const failure = toFailure(thrown);
  const { message, code } = failure;
  if (failure.kind === "permanent") throw new PermanentError(message, { code, cause: thrown });
  const { retryAfterMs, pause } = failure;
  throw new RetryableError(message, {
    code,
    cause: thrown,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(pause && { pause }),
  });
}
