import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import { ImageUid } from "../../src/core/signing.ts";
import type { KnownImage } from "../../src/queues/image-uids.ts";
import { createPictures } from "../../src/workers/pictures.ts";

const LOGO = { sha256: "a".repeat(64), sizeBytes: 3 };
const SEAL = { sha256: "b".repeat(64), sizeBytes: 3 };
const { signal } = new AbortController();

/** A provider that has what it was given, unless it is told to lose it, and a memory of what things are called there. */
function startProvider() {
  const has = new Set<string>();
  const known = new Map<string, KnownImage>();
  const calls: string[] = [];
  const troubles: { upload?: Error; get?: Error } = {};
  let nowMs = 1e12;
  const pictures = createPictures({
    provider: {
      async uploadImage({ sha256 }) {
        const nth = calls.push(`upload ${sha256?.[0]}`);
        await new Promise((resolve) => setImmediate(resolve));
        if (troubles.upload) throw troubles.upload;
        const uid = ImageUid.parse(`uid-${nth}`);
        has.add(uid);
        return uid;
      },
      async getImage(uid) {
        calls.push(`get ${uid}`);
        if (troubles.get) throw troubles.get;
        if (!has.has(uid)) throw new PermanentError("Not there", { code: "not-found" });
        return { body: Readable.from([Buffer.from("png")]), declaredBytes: 3 };
      },
    },
    uids: {
      find: async (print) => known.get(print),
      keep: async (print, image) => void known.set(print, image),
      forget: async (print) => void known.delete(print),
    },
    open: () => Readable.from([Buffer.from("png")]),
    print: ({ sha256 }) => sha256,
    now: () => nowMs,
  });
  return { pictures, has, calls, troubles, pass: (ms: number) => (nowMs += ms) };
}

test("an image that many requests have at once is stored once, and each image for itself", async () => {
  const { pictures, calls } = startProvider();
  const uids = await Promise.all([LOGO, LOGO, SEAL, LOGO].map((one) => pictures.uidOf(one, signal)));
  expect(new Set(uids).size).toBe(2);
  expect(calls).toEqual(["upload a", "upload b"]);
});

test("an image that was seen lately is not looked for; later it is, and stored again when it is lost", async () => {
  const { pictures, calls, has, pass } = startProvider();
  await pictures.makeSure(LOGO, signal);
  await pictures.makeSure(LOGO, signal);
  expect(calls).toEqual(["upload a", "get uid-1"]);
  pass(600_001);
  await pictures.makeSure(LOGO, signal);
  expect(calls.slice(2)).toEqual(["get uid-1"]);
  pass(600_001);
  has.clear();
  await pictures.makeSure(LOGO, signal);
  expect(calls.slice(3)).toEqual(["get uid-1", "upload a", "get uid-5"]);
  expect(await pictures.uidOf(LOGO, signal)).toBe("uid-5");
});

test("where images cannot be asked for, the uid that was given is taken for granted", async () => {
  const { pictures, calls, troubles } = startProvider();
  troubles.get = new PermanentError("No such call", { code: "call-unknown" });
  await pictures.makeSure(LOGO, signal);
  expect(calls).toEqual(["upload a", "get uid-1"]);
  expect(await pictures.uidOf(LOGO, signal)).toBe("uid-1");
});

test("an unheard storing is no doubt that anything has to wait for", async () => {
  const { pictures, troubles } = startProvider();
  const pause = { until: "the provider" as never };
  troubles.upload = new RetryableError("No answer", { code: "timeout", effect: "unknown", retryAfterMs: 5, pause });
  await expect(pictures.uidOf(LOGO, signal)).rejects.toMatchObject({
    kind: "retryable",
    code: "timeout",
    effect: "none",
    retryAfterMs: 5,
    pause,
  });
  troubles.upload = new PermanentError("Not a PNG", { code: "unsupported-file" });
  await expect(pictures.uidOf(LOGO, signal)).rejects.toMatchObject({ kind: "permanent", code: "unsupported-file" });
  delete troubles.upload;
  expect(await pictures.uidOf(LOGO, signal)).toMatch(/^uid-/);
});
