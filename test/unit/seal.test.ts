import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import type { RequestPk } from "../../src/core/signing.ts";
import { toHashFile } from "../../src/files/hash-file.ts";
import { createSeal } from "../../src/workers/seal.ts";
import type { Uploaded } from "../../src/workers/upload.ts";

const PK = 1012632 as RequestPk;
/** The SHA-256 of "one". */
const ONE = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
const uploaded = [{ id: "a", name: "a.pdf", sizeBytes: 3, sha256: ONE, uid: "u1" }] as Uploaded[];
const { signal } = new AbortController();

function sealOver(originalDocument: () => Promise<{ body: Readable }>) {
  return createSeal({
    provider: { originalDocument },
    documents: { path: () => "/nowhere/a.pdf" },
    space: { book: () => Promise.reject(new Error("bytes are compared on their way")) },
    incremental: true,
    compare: "text",
  });
}

test("documents that are there and the very ones are intact; other bytes are not", async () => {
  const seal = (text: string) => sealOver(() => Promise.resolve({ body: Readable.from([Buffer.from(text)]) }));
  expect(await seal("one").check(PK, uploaded, signal)).toBe("intact");
  expect(await seal("two").check(PK, uploaded, signal)).toBe("broken");
});

test.each(["not-found", "call-unknown"])(
  "a provider that never served an original (%s) is no broken seal",
  async (code) => {
    const seal = sealOver(() => Promise.reject(new PermanentError("no", { code })));
    expect(await seal.check(PK, uploaded, signal)).toBe("unserved");
  },
);

test("a document that went missing where others were served breaks the seal", async () => {
  let isThere = true;
  const gone = new PermanentError("no", { code: "not-found" });
  const seal = sealOver(() =>
    isThere ? Promise.resolve({ body: Readable.from([Buffer.from("one")]) }) : Promise.reject(gone),
  );
  expect(await seal.check(PK, uploaded, signal)).toBe("intact");
  isThere = false;
  expect(await seal.check(PK, uploaded, signal)).toBe("broken");
});

test("an answer that says nothing about the document decides nothing", async () => {
  const seal = sealOver(() => Promise.reject(new RetryableError("no", { code: "no-answer" })));
  await expect(seal.check(PK, uploaded, signal)).rejects.toMatchObject({ code: "no-answer" });
});

describe("of a hash", () => {
  const hashOf = (value: string) => JSON.stringify(JSON.parse(toHashFile(value).toString()), null, 2);
  const seal = (...answers: (string | Error)[]) =>
    sealOver(async () => {
      const answer = answers.shift() ?? "";
      if (answer instanceof Error) throw answer;
      return { body: Readable.from([Buffer.from(answer)]) };
    });
  const check = (of: ReturnType<typeof seal>) => of.check(PK, uploaded, signal, "cms");
  const gone = new PermanentError("no", { code: "not-found" });

  test("the digest has to be the one that was sent, however the rest of it is written", async () => {
    expect(await check(seal(hashOf(ONE)))).toBe("intact");
    expect(await check(seal(hashOf("0".repeat(64))))).toBe("broken");
    const uid = uploaded.map((one) => ({ ...one, digest: { algorithm: "sha256", value: "0".repeat(64) } as const }));
    expect(await seal(hashOf("0".repeat(64))).check(PK, uid, signal, "cms")).toBe("intact");
  });

  test("what cannot be compared stops nobody, and what went missing does", async () => {
    expect(await check(seal(gone))).toBe("unserved");
    expect(await check(seal("{}"))).toBe("unserved");
    expect(await check(seal(new RetryableError("no", { code: "unexpected-answer" })))).toBe("unserved");
    expect(await check(seal("x".repeat(1_000_000)))).toBe("unserved");
    const used = seal(hashOf(ONE), gone);
    expect(await check(used)).toBe("intact");
    expect(await check(used)).toBe("broken");
    await expect(check(seal(new RetryableError("no", { code: "no-answer" })))).rejects.toMatchObject({
      code: "no-answer",
    });
  });
});
