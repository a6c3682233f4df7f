import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { hashFile, inMemory, SMALL_BYTES, withContent } from "../../src/files/content.ts";
import { factsOf, scratchFolder } from "../helpers/pdfs.ts";

const dir = scratchFolder("content");
const path = join(dir, "file");

function filled(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  for (let at = 0; at + 4 <= sizeBytes; at += 4) bytes.writeUInt32LE(at, at);
  return bytes;
}

describe.each([0, 1, 30_000, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1, 3_500_000])(
  "a file of %i bytes",
  (size) => {
    const bytes = filled(size);

    test("is read on disk as in memory", async () => {
      writeFileSync(path, bytes);
      const places = [0, 1, Math.floor(size / 2), size - 1, size, size + 5].filter((at) => at >= 0);
      await withContent(path, async (content) => {
        expect(content.sizeBytes).toBe(size);
        for (const at of places) {
          for (const length of [0, 1, 1_000, size, size + 10]) {
            const expected = bytes.subarray(at, at + length);
            expect((await content.read(at, length)).equals(expected), `${length} from ${at}`).toBe(true);
            expect((await inMemory(bytes).read(at, length)).equals(expected)).toBe(true);
          }
        }
      });
      expect(await hashFile(path)).toEqual(factsOf(bytes));
    });

    test("feeds any part of it to any number of hashes", async () => {
      writeFileSync(path, bytes);
      const [from, to] = [Math.floor(size / 3), size - Math.floor(size / 5)];
      const expected = createHash("sha512").update(bytes.subarray(from, to)).digest("hex");
      await withContent(path, async (content) => {
        const hashes = [createHash("sha512"), createHash("sha512")];
        await content.feed(from, to, hashes);
        expect(hashes.map((hash) => hash.digest("hex"))).toEqual([expected, expected]);
      });
    });

    test("that becomes shorter while it is read is found out", async () => {
      writeFileSync(path, bytes);
      await withContent(path, async (content) => {
        truncateSync(path, 0);
        const beyond = size > SMALL_BYTES ? size : size + 1;
        await expect(content.feed(0, beyond, [createHash("sha256")])).rejects.toMatchObject({ code: "file-changed" });
      });
    });
  },
);

test("what is no regular file is not opened, and a pipe does not keep anybody waiting", async () => {
  const at = (name: string) => join(dir, name);
  writeFileSync(at("real"), "x");
  symlinkSync(at("real"), at("link"));
  mkdirSync(at("folder"));
  execFileSync("mkfifo", [at("pipe")]);
  for (const name of ["link", "folder", "pipe"]) {
    await expect(hashFile(at(name)), name).rejects.toMatchObject({ code: "not-a-regular-file" });
  }
  await expect(hashFile(at("gone"))).rejects.toMatchObject({ code: "ENOENT" });
});
