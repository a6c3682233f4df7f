import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { createAppearances, type Appearances } from "../../src/files/appearances.ts";
import { drawnPng } from "../helpers/drawn.ts";
import { dataFolder, scratchFolder } from "../helpers/pdfs.ts";

const base = scratchFolder("appearances");
let at: (...names: string[]) => string;
let appearances: Appearances;

beforeEach(() => {
  at = dataFolder(base);
  mkdirSync(at("appearance"), { recursive: true });
  appearances = createAppearances({ dir: at("appearance"), kept: at("images") });
});

const put = (name: string, content: string | Buffer) => writeFileSync(at("appearance", name), content);
const refusal = (appearance: object | string) =>
  appearances.fit({ appearance: appearance as string }, []).then(
    () => undefined,
    (error: { fields?: object }) => error.fields,
  );
const plain = { position: "1, 2, 3, 4", page: 0 };

test("who asks for no appearance gets none, and of the format nothing is lost", async () => {
  expect(await appearances.fit(undefined, [])).toEqual({});
  expect(await appearances.fit({}, [])).toEqual({});
  expect(await appearances.fit({ format: "cms" }, [])).toEqual({ signature: { format: "cms" } });
});

test("a template is read when it is asked for, with a byte order mark or without, and may be a link", async () => {
  writeFileSync(at("elsewhere.json"), `\uFEFF${JSON.stringify({ position: "1, 2, 3, 4", text: ["%(CN)s"] })}`);
  symlinkSync(at("elsewhere.json"), at("appearance", "letter.json"));
  const expected = { signature: { appearance: { ...plain, text: ["%(CN)s"] } } };
  expect(await appearances.fit({ appearance: "letter" }, [])).toEqual(expected);
});

test("a template that cannot be used says what is wrong with it", async () => {
  put("half.json", "{");
  put("typo.json", JSON.stringify({ ...plain, colour: "red" }));
  put("off.json", JSON.stringify({ ...plain, position: "3, 2, 1, 4" }));
  expect(await refusal("half")).toEqual({
    "signature.appearance": 'names the template "half", which is not JSON; the operator has to correct it',
  });
  expect(JSON.stringify(await refusal("typo"))).toMatch(/which cannot be used \(.*colour.*\)/);
  expect(JSON.stringify(await refusal("off"))).toMatch(/which cannot be used \(position must be /);
  expect(await refusal("of")).toEqual({
    "signature.appearance": 'names a template that is not there: there are "half", "off", "typo"',
  });
});

test("where there are no templates, that is said", async () => {
  rmSync(at("appearance"), { recursive: true });
  expect(await refusal("letter")).toEqual({
    "signature.appearance": "names a template that is not there: there is none here",
  });
});

test("an image is kept by its bytes, once, and can be had when its file is gone", async () => {
  const png = drawnPng();
  put("logo.png", png);
  put("again.PNG", png);
  const { picture, signature } = await appearances.fit({ appearance: { ...plain, image: "logo.png" } }, []);
  expect(signature?.appearance?.image).toBe("logo.png");
  expect((await appearances.fit({ appearance: { ...plain, image: "again.PNG" } }, [])).picture).toEqual(picture);
  expect(readdirSync(at("images"))).toEqual([`${picture?.sha256}.png`]);
  rmSync(at("appearance"), { recursive: true });
  const blocks: Buffer[] = [];
  for await (const block of appearances.open(picture ?? { sha256: "", sizeBytes: 0 })) blocks.push(block);
  expect(Buffer.concat(blocks).equals(png)).toBe(true);
  rmSync(join(at("images"), `${picture?.sha256}.png`));
  await expect(appearances.open(picture ?? { sha256: "", sizeBytes: 0 }).next()).rejects.toMatchObject({
    code: "image-gone",
    kind: "permanent",
  });
});

test("a uid of the provider's is passed on as it is", async () => {
  const image = "463156ce-0000-4000-8000-000000000000";
  expect(await appearances.fit({ appearance: { ...plain, image } }, [])).toEqual({
    signature: { appearance: { ...plain, image } },
  });
});

test.each([
  ["half a PNG", () => drawnPng().subarray(0, -1)],
  ["a picture of another kind", () => Buffer.from("ffd8ffe0", "hex")],
  ["an empty file", () => Buffer.alloc(0)],
  ["a PNG of more than 5 MiB", () => Buffer.concat([drawnPng(), Buffer.alloc(5 * 1024 ** 2), drawnPng()])],
])("%s is refused as an image", async (_, bytes) => {
  put("logo.png", bytes());
  expect(await refusal({ ...plain, image: "logo.png" })).toEqual({
    "signature.appearance.image": "names a file that is not a whole PNG of at most 5 MiB",
  });
  expect(() => readFileSync(at("images"))).toThrow();
});

test("an image that is not there is refused with those that are", async () => {
  put("logo.png", drawnPng());
  expect(await refusal({ ...plain, image: "Logo.png" })).toEqual({
    "signature.appearance.image": 'names a file that is not in APPEARANCE_DIR: there is "logo.png"',
  });
});
