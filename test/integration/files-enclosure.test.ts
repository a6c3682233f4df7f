import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { EnclosureRole } from "../../src/core/identity.ts";
import { probeEnclosure } from "../../src/files/enclosure.ts";
import { jpeg, mp4, png } from "../helpers/identity.ts";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "signpipe-enclosure-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

let made = 0;
async function probe(content: Buffer | string, role: EnclosureRole, options = {}): Promise<string> {
  const path = join(dir, `${made++}`);
  await writeFile(path, content);
  return await probeEnclosure(path, role, options);
}

const head = (...bytes: (string | number[])[]) =>
  Buffer.concat([...bytes.map((part) => Buffer.from(part as string, "latin1")), Buffer.alloc(400)]);

test.each([
  ["document_front", jpeg(), "image/jpeg"],
  ["document_rear", png(), "image/png"],
  ["document_photo", jpeg(), "image/jpeg"],
  ["document_owner", png(), "image/png"],
  ["extra_document", head("%PDF-1.7\n"), "application/pdf"],
  ["extra_document", Buffer.from("plain text"), "application/octet-stream"],
  ["video", mp4(), "video/mp4"],
  ["video", head("\0\0\0\x14ftypqt  "), "video/quicktime"],
  ["video", head("\0\0\x10\0moov"), "video/quicktime"],
  ["video", head("\0\0\0\x14ftyp3gp5"), "video/3gpp"],
  ["video", head([0x1a, 0x45, 0xdf, 0xa3], "\x9f\x42\x82\x84webm"), "video/webm"],
  ["video", head([0x1a, 0x45, 0xdf, 0xa3], "\xa3\x42\x82\x88matroska"), "video/x-matroska"],
  ["video", head("RIFF\x10\0\0\0AVI LIST"), "video/x-msvideo"],
  ["video", head([0, 0, 1, 0xba]), "video/mpeg"],
  ["video", Buffer.concat(Array.from({ length: 4 }, () => Buffer.alloc(188, "G"))), "video/mp2t"],
] as [EnclosureRole, Buffer, string][])(
  "a file that shows %s is known by its bytes: case %#",
  async (role, content, type) => {
    expect(await probe(content, role)).toBe(type);
  },
);

test.each([
  ["a GIF", "document_front", Buffer.from("GIF89a……"), "not-a-picture"],
  ["a PDF", "document_rear", head("%PDF-1.7\n"), "not-a-picture"],
  ["a picture of a telephone in a form that is no JPEG", "document_owner", head("\0\0\0\x18ftypheic"), "not-a-picture"],
  ["a film", "document_photo", mp4(), "not-a-picture"],
  ["a picture", "video", jpeg(), "not-a-video"],
  ["sound alone", "video", head("\0\0\0\x18ftypM4A "), "not-a-video"],
  ["a picture of a telephone", "video", head("\0\0\0\x18ftypheic"), "not-a-video"],
  ["a sound in RIFF", "video", head("RIFF\x10\0\0\0WAVEfmt "), "not-a-video"],
  ["text", "video", Buffer.from("I am Ana"), "not-a-video"],
  ["nothing", "video", Buffer.alloc(0), "file-empty"],
  ["nothing", "extra_document", Buffer.alloc(0), "file-empty"],
  ["zeros", "document_front", Buffer.alloc(5_000), "not-a-picture"],
] as [string, EnclosureRole, Buffer, string][])(
  "%s is refused as %s, whatever it is called",
  async (_what, role, content, code) => {
    await expect(probe(content, role)).rejects.toMatchObject({ name: "PermanentError", code });
  },
);

test("a file above the limit, a link and a folder are refused", async () => {
  await expect(probe(jpeg(), "document_front", { maxBytes: 20 })).rejects.toMatchObject({ code: "file-too-large" });
  await writeFile(join(dir, "target"), jpeg());
  await symlink(join(dir, "target"), join(dir, "link"));
  for (const path of [join(dir, "link"), dir]) {
    await expect(probeEnclosure(path, "document_front")).rejects.toMatchObject({ code: "not-a-regular-file" });
  }
});
