import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { beforeEach, describe, expect, test } from "vitest";
import { PermanentError } from "../../src/core/errors.ts";
import type { StoredDocument } from "../../src/core/request.ts";
import { createDocuments } from "../../src/files/documents.ts";
import { createResults } from "../../src/files/results.ts";
import { dataFolder, factsOf, scratchFolder } from "../helpers/pdfs.ts";
import { newId } from "../helpers/toy.ts";

const base = scratchFolder("stores");
let at: (...names: string[]) => string;
let documents: ReturnType<typeof createDocuments>;
let results: ReturnType<typeof createResults>;
let toArchive: { archive: string; format: "pades" };

beforeEach(() => {
  at = dataFolder(base);
  documents = createDocuments({ dir: at("work") });
  results = createResults({ dir: at("signed") });
  toArchive = { archive: at("archive"), format: "pades" };
  writeFileSync(at("secret.pdf"), "not yours");
});

const codeOf = (act: () => unknown) =>
  Promise.resolve()
    .then(act)
    .then(
      () => "fine",
      (error: unknown) => (error as { code?: string }).code ?? String(error),
    );

async function* once(bytes: string | Buffer): AsyncGenerator<Buffer> {
  yield Buffer.from(bytes);
}

function put(id: string, file: string, content: string | Buffer): StoredDocument {
  mkdirSync(at("work", id), { recursive: true });
  writeFileSync(at("work", id, file), content);
  return { id: `${id}/${file}`, name: file, ...factsOf(Buffer.from(content)) };
}

const read = async (document: StoredDocument) => await text(documents.open(document));

describe("documents", () => {
  test("are given in blocks, whole", async () => {
    const bytes = Buffer.alloc(2_500_000, "0123456789abcdef");
    const document = put(newId(), "1.pdf", bytes);
    const blocks: Buffer[] = [];
    for await (const block of documents.open(document)) blocks.push(block);
    expect(blocks.map(({ length }) => length)).toEqual([1 << 20, 1 << 20, 2_500_000 - (2 << 20)]);
    expect(Buffer.concat(blocks).equals(bytes)).toBe(true);
  });

  test("are closed by whoever stops in between", async () => {
    const document = put(newId(), "1.pdf", Buffer.alloc(5_000_000));
    const open = () => readdirSync("/proc/self/fd").length;
    if (!existsSync("/proc/self/fd")) return void process.stderr.write("no /proc: left out\n");
    const before = open();
    for (let n = 0; n < 20; n++) {
      for await (const block of documents.open(document)) if (block.length > 0) break;
    }
    expect(open()).toBeLessThan(before + 5);
  });

  test.each([
    "../secret.pdf",
    "ID/../../secret.pdf",
    "ID/..",
    "ID/.",
    "ID/",
    "ID",
    "",
    "/etc/hostname",
    "ID//etc/hostname",
    "ID/a/b.pdf",
    "ID/1.pdf\0.txt",
    "other/1.pdf",
    "req-/1.pdf",
    "REQ/1.pdf",
  ])("a reference that leads elsewhere leads nowhere: %j", async (reference) => {
    const id = newId();
    const document = put(id, "1.pdf", "mine");
    const astray = { ...document, id: reference.replace("ID", id) };
    expect(await codeOf(() => documents.path(astray))).toBe("document-gone");
    expect(await codeOf(() => read(astray))).toBe("document-gone");
  });

  test.each(["..", "../x", "req-1", "", "req-00000000000000000000000000/.."])("nor does an id: %j", async (id) => {
    expect(await codeOf(() => documents.folder(id))).not.toBe("fine");
    expect(await codeOf(() => documents.remove(id))).not.toBe("fine");
    expect(await codeOf(() => documents.beginUpload(id))).not.toBe("fine");
    expect(await codeOf(() => documents.archive(id, [], toArchive))).not.toBe("fine");
    expect(existsSync(at("secret.pdf"))).toBe(true);
  });

  test("a link, a pipe and a folder are none", async () => {
    const id = newId();
    const document = put(id, "1.pdf", "mine");
    symlinkSync(at("secret.pdf"), at("work", id, "2.pdf"));
    execFileSync("mkfifo", [at("work", id, "3.pdf")]);
    mkdirSync(at("work", id, "4.pdf"));
    for (const file of ["2.pdf", "3.pdf", "4.pdf"]) {
      expect(await codeOf(() => read({ ...document, id: `${id}/${file}` })), file).toBe("document-gone");
      expect(await codeOf(() => documents.inspect(id, file, file)), file).toBe("not-a-regular-file");
    }
    expect(await codeOf(() => documents.inspect(id, "5.pdf", "5.pdf"))).toBe("ENOENT");
  });

  test("are looked at: size, digest, and the name as people see it", async () => {
    const id = newId();
    put(id, "1.pdf", "content");
    put(id, "2.pdf", "");
    expect(await documents.inspect(id, "1.pdf", "Cafe\u0301.pdf")).toEqual({
      id: `${id}/1.pdf`,
      name: "Caf\u00e9.pdf",
      ...factsOf(Buffer.from("content")),
    });
    expect(await codeOf(() => documents.inspect(id, "2.pdf", "2.pdf"))).toBe("file-empty");
  });

  test("of an upload say so until it is accepted", async () => {
    const id = newId();
    expect(await documents.uploadingSince(id)).toBeUndefined();
    const before = Date.now();
    await documents.beginUpload(id);
    expect(await documents.uploadingSince(id)).toBeGreaterThan(before - 2_000);
    await documents.endUpload(id);
    await documents.endUpload(id);
    expect(await documents.uploadingSince(id)).toBeUndefined();
    expect(readdirSync(at("work", id))).toEqual([]);
  });
});

describe("the archive", () => {
  test("has the originals under the names people gave them, also twins", async () => {
    const id = newId();
    const named = (file: string, name: string) => ({ ...put(id, file, file), name });
    const stored = [
      named("1.pdf", "lease.pdf"),
      named("2.pdf", "lease.pdf"),
      named("3.pdf", "../../etc/passwd"),
      named("4.pdf", "lease"),
    ];
    await documents.beginUpload(id);
    await documents.archive(id, stored, toArchive);
    const names = readdirSync(at("archive", id)).sort();
    expect(names).toEqual(["__.._etc_passwd.pdf", "lease.2.pdf", "lease.3.pdf", "lease.pdf"].sort());
    expect(readFileSync(at("archive", id, "lease.2.pdf"), "utf8")).toBe("2.pdf");
    expect(existsSync(at("work", id))).toBe(false);
  });

  test("has files whose hash was signed under the endings that they came with", async () => {
    const id = newId();
    const names = ["photo.jpg", "photo.jpg", "no ending", "x.tar.gz", `${"\u20ac".repeat(200)}.xml`, "a.hash.json"];
    const stored = names.map((name, i) => ({ ...put(id, `${i + 1}.pdf`, name), name }));
    await documents.archive(id, stored, { ...toArchive, format: "cms" });
    const long = `${"\u20ac".repeat(83)}.xml`;
    expect(readdirSync(at("archive", id)).sort()).toEqual(
      ["photo.jpg", "photo.2.jpg", "no ending", "x.tar.gz", long, "a.hash.json"].sort(),
    );
  });

  test("takes the longest of names", async () => {
    const id = newId();
    const name = `${"\u20ac".repeat(200)}.pdf`;
    await documents.archive(
      id,
      [
        { ...put(id, "1.pdf", "1"), name },
        { ...put(id, "2.pdf", "2"), name },
      ],
      toArchive,
    );
    expect(readdirSync(at("archive", id))).toHaveLength(2);
  });

  test("is completed by a repetition after a crash, wherever it came", async () => {
    const { link, mkdir, unlink } = await import("node:fs/promises");
    for (const crash of ["before", "linked", "one moved", "all moved"]) {
      const id = newId();
      const stored = [put(id, "1.pdf", "one"), put(id, "2.pdf", "two")];
      await mkdir(at("archive", id), { recursive: true });
      const move = async (n: number) => {
        await link(at("work", id, `${n}.pdf`), at("archive", id, `${n}.pdf`));
        if (crash !== "linked") await unlink(at("work", id, `${n}.pdf`));
      };
      if (crash !== "before") await move(1);
      if (crash === "all moved") await move(2);
      await documents.archive(id, stored, toArchive);
      await documents.archive(id, stored, toArchive);
      expect(readdirSync(at("archive", id)).sort(), crash).toEqual(["1.pdf", "2.pdf"]);
      expect(readFileSync(at("archive", id, "1.pdf"), "utf8")).toBe("one");
      expect(existsSync(at("work", id)), crash).toBe(false);
    }
  });
});

describe("results", () => {
  const fine = async () => ({});
  const bad = async () => {
    throw new PermanentError("damaged", { code: "signature-invalid" });
  };

  test.each(["../secret.pdf", "..", ".", "", ".hidden", "a/b.pdf", "a\\b.pdf", "/etc/hostname", "a\0b"])(
    "a name that leads elsewhere leads nowhere: %j",
    async (name) => {
      const id = newId();
      expect(await codeOf(() => results.path(id, name))).toBe("no-such-file");
      expect(await codeOf(() => results.open(id, name))).toBe("no-such-file");
      expect(await codeOf(() => results.store(id, name, once("x"), fine))).toBe("no-such-file");
      expect(await codeOf(() => results.existing(id, name, fine))).toBe("no-such-file");
      expect(await results.rehash(id, { name, ...factsOf(Buffer.from("not yours")) })).toBe(false);
      expect(readdirSync(at("signed"))).toEqual([]);
    },
  );

  test("are stored, found, opened and hashed again", async () => {
    const id = newId();
    expect(await results.existing(id, "a.pdf", fine)).toBeUndefined();
    const file = await results.store(id, "a.pdf", once("signed"), fine);
    expect(file).toEqual({ name: "a.pdf", ...factsOf(Buffer.from("signed")) });
    expect(await results.existing(id, "a.pdf", fine)).toEqual(file);
    expect(await results.rehash(id, file)).toBe(true);
    const { content, sizeBytes } = await results.open(id, "a.pdf");
    expect([await text(content), sizeBytes]).toEqual(["signed", 6]);
    expect(await results.store(id, "a.pdf", once("signed"), fine)).toEqual(file);
  });

  test.each([
    ["changed", (path: string) => writeFileSync(path, "sigmed")],
    ["longer", (path: string) => writeFileSync(path, "signed!")],
    ["empty", (path: string) => writeFileSync(path, "")],
    ["gone", (path: string) => execFileSync("rm", [path])],
    [
      "a link to a twin",
      (path: string) => execFileSync("sh", ["-c", 'mv "$1" "$1.twin" && ln -s "$1.twin" "$1"', "sh", path]),
    ],
    ["a pipe", (path: string) => execFileSync("sh", ["-c", 'rm "$1" && mkfifo "$1"', "sh", path])],
    ["a folder", (path: string) => execFileSync("sh", ["-c", 'rm "$1" && mkdir "$1"', "sh", path])],
  ])("one that is %s is not what was verified", async (_what, change) => {
    const id = newId();
    const file = await results.store(id, "a.pdf", once("signed"), fine);
    change(results.path(id, "a.pdf"));
    expect(await results.rehash(id, file)).toBe(false);
  });

  test("one that an attempt before left damaged is set aside, and a good one takes its place", async () => {
    const id = newId();
    await results.store(id, "a.pdf", once("damaged"), fine);
    expect(await results.existing(id, "a.pdf", bad)).toBeUndefined();
    const [aside = ""] = readdirSync(results.folder(id));
    expect(aside).toMatch(/\.damaged\.a\.pdf$/);
    expect(readFileSync(join(results.folder(id), aside), "utf8")).toBe("damaged");
    await results.store(id, "a.pdf", once("good"), fine);
    expect(readdirSync(results.folder(id))).toHaveLength(2);
  });

  test("one with the longest of names is set aside as well", async () => {
    const id = newId();
    const name = `${"\u20ac".repeat(83)}.pdf`;
    expect(Buffer.byteLength(name)).toBe(253);
    await results.store(id, name, once("damaged"), fine);
    expect(await results.existing(id, name, bad)).toBeUndefined();
    expect(readdirSync(results.folder(id))).toHaveLength(1);
  });

  test("a link that lies in the place of one is set aside, and what it points to is not touched", async () => {
    const id = newId();
    mkdirSync(results.folder(id));
    symlinkSync(at("secret.pdf"), results.path(id, "a.pdf"));
    expect(await codeOf(() => results.open(id, "a.pdf"))).toBe("not-a-regular-file");
    expect(await results.existing(id, "a.pdf", fine)).toBeUndefined();
    await results.store(id, "a.pdf", once("good"), fine);
    expect(readFileSync(at("secret.pdf"), "utf8")).toBe("not yours");
  });

  test("one that cannot be read at the moment is not set aside", async () => {
    const id = newId();
    await results.store(id, "a.pdf", once("good"), fine);
    const busy = async () => {
      throw Object.assign(new Error("busy"), { code: "EIO" });
    };
    expect(await codeOf(() => results.existing(id, "a.pdf", busy))).toBe("disk-error");
    expect(readdirSync(results.folder(id))).toEqual(["a.pdf"]);
  });

  test("the evidence is written anew as a whole, and read back", async () => {
    const id = newId();
    expect(await results.readEvidence(id)).toBeUndefined();
    await results.writeEvidence(id, { step: 1 });
    await results.writeEvidence(id, { step: 2 });
    expect(await results.readEvidence(id)).toEqual({ step: 2 });
    writeFileSync(join(results.folder(id), "evidence.json"), '{"step"');
    expect(await results.readEvidence(id)).toBeUndefined();
    expect(readdirSync(results.folder(id))).toEqual(["evidence.json"]);
  });
});
