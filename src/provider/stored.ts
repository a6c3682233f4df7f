import { isFailure } from "../core/errors.ts";
import type { CallName, PathIds } from "./calls.ts";
import type { Download, Expected } from "./download.ts";
import { unexpected } from "./errors.ts";
import type { Answer, Sending } from "./http.ts";
import { toForm } from "./multipart.ts";
import type { CallOptions, Provider } from "./provider.ts";
import type { Streamed } from "./sending.ts";
import { type Body, readImages, readImageUid, readToken, readTokens, readTokenUid } from "./wire.ts";

/** Nothing that is shown beside a signature is larger; without a bound, a false answer would fill memory and disk. */
const MAX_IMAGE_BYTES = 64 * 1024 ** 2;

type Sent = Omit<Sending, "call" | "totalMs">;

/** The ways in which the client makes its calls. */
interface Calls {
  ask(call: CallName, sending: Sent): Promise<Answer>;
  transfer(call: CallName, stream: Streamed, sending: Sent): Promise<Answer>;
  fetchFile(
    call: CallName,
    ids: PathIds,
    options: CallOptions,
    how: { expected: Expected; maxBytes: number },
  ): Promise<Download>;
  remove(
    call: CallName,
    ids: PathIds,
    options: CallOptions,
    lookNear: () => Promise<unknown>,
  ): Promise<"deleted" | "absent">;
}

type Stored =
  | ("createToken" | "getToken" | "deleteToken" | "listTokens")
  | ("uploadImage" | "getImage" | "deleteImage" | "deleteImages" | "listImages");

/** The calls about what is stored for all requests: RAO credentials and images. @source docs/provider.md §Tokens, §Images */
export function createStored({ ask, transfer, fetchFile, remove }: Calls): Pick<Provider, Stored> {
  /** A list; none at all is an empty one, once it is certain that the path is right. */
  async function list<T>(
    call: "listTokens" | "listImages",
    read: (body: Body) => T[] | undefined,
    { signal }: CallOptions = {},
  ): Promise<T[]> {
    const answer = await ask(call, { signal }).catch((error: unknown) => {
      if (!isFailure(error, "not-found")) throw error;
    });
    if (!answer) return [];
    const found = read(answer.body);
    if (!found) throw unexpected(call, "no list");
    return found;
  }

  return {
    /** In no lane: it is a person who tries credentials here, and what goes on with others has nothing to do with it. */
    async createToken({ username, password, pin }, { env }, { signal } = {}) {
      const secrets = [username, password ?? "", pin ?? ""];
      const { body } = await ask("createToken", { json: { username, password, pin, env }, secrets, signal });
      const uid = readTokenUid(body);
      if (!uid) throw unexpected("createToken", "no uid of a token");
      return uid;
    },

    async getToken(uid, { signal } = {}) {
      const { body } = await ask("getToken", { ids: { token_uid: uid }, secrets: [uid], signal });
      const token = readToken(body, uid);
      if (!token) throw unexpected("getToken", "nothing of a token");
      return token;
    },

    deleteToken: (uid, call = {}) =>
      remove("deleteToken", { token_uid: uid }, call, () => list("listTokens", readTokens, call)),
    listTokens: (call) => list("listTokens", readTokens, call),

    async uploadImage(image, { signal } = {}) {
      const stream = toForm("uploadImage", [{ name: "image", file: image }]);
      const { body } = await transfer("uploadImage", stream, { secrets: [image.name], signal });
      const uid = readImageUid(body);
      if (!uid) throw unexpected("uploadImage", "no uid of an image");
      return uid;
    },

    getImage: (uid, call = {}) =>
      fetchFile("getImage", { image_uid: uid }, call, { expected: "png", maxBytes: MAX_IMAGE_BYTES }),
    deleteImage: (uid, call = {}) =>
      remove("deleteImage", { image_uid: uid }, call, () => list("listImages", readImages, call)),
    deleteImages: (call = {}) => remove("deleteImages", {}, call, () => list("listImages", readImages, call)),
    listImages: (call) => list("listImages", readImages, call),
  };
}
