import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  Manifest,
  MANIFEST_BYTES,
  manifestJsonSchema,
  namedFiles,
  readManifest,
  toWishes,
} from "../../src/producers/manifest.ts";
import { classic, CLASSIC_SIGNER, external } from "../helpers/identity.ts";

const signer = { email: "ana@example.com", mobile_phone_number: "+34699999999" };

const PLACE =
  'must be "x1, y1, x2, y2": the lower left and the upper right corner in whole points, counted from the lower left';
const TEXT = "signature.appearance.text";
const TEMPLATE = 'must be an object in braces, or the name of a template like "letter"';
const NAME = "must be the name of a template: letters, digits, - and _";
const VARIABLES = 'may have "%" in %(CN)s, %(SUBJECT)s, %(DATE)s and %(E)s only';
const DATE = "must be a pattern of strftime, like %d/%m/%Y %H:%M";
const IMAGE = "must be the name of a PNG in APPEARANCE_DIR, like logo.png, or the uid of an image at the provider";
const placed = (appearance: object) => ({ signer, signature: { appearance } });

function problemsOf(json: unknown) {
  const read = readManifest(json);
  return read.ok ? [] : read.problems;
}

test("a signer is enough: the rest has defaults", () => {
  expect(readManifest({ signer })).toEqual({
    ok: true,
    manifest: { workflow: "videoid", signer, authentication: { method: "sms" } },
  });
});

test("everything that can be said is kept", () => {
  const all = {
    workflow: "videoid",
    reference: "contract 7",
    signer: { ...signer, given_name: "Ana", id_document_type: "IDC", id_document_country: "ES" },
    authentication: { method: "external", type: "op", value: "123" },
    profile: "PFnubeQAFCiudadano",
    registration_authority: "139",
    signature: { appearance: { position: "10, 20, 110, 60", page: 1, text: ["Signed by"] } },
    approval: "auto",
    callback_url: "https://example.com/hook",
  };
  expect(readManifest(all)).toEqual({ ok: true, manifest: all });
});

test("the registration authority may be a number and is kept as text", () => {
  expect(readManifest({ signer, registration_authority: 139 })).toMatchObject({
    manifest: { registration_authority: "139" },
  });
});

test("an appearance without a page is on the first one", () => {
  expect(readManifest(placed({ position: "10,20,110,60" }))).toMatchObject({
    manifest: { signature: { appearance: { position: "10,20,110,60", page: 0 } } },
  });
});

test("an appearance may be a template's name; its lines have the four variables, and its date the words of strftime", () => {
  const all = "%(CN)s %(SUBJECT)s, %(DATE)s; %(E)s";
  const appearance = { position: "1,2,3,4", text: [all], date: "%-d. %B %Y, %H:%M %Z, 100 %%", image: "Größe 2.PNG" };
  expect(readManifest(placed(appearance))).toMatchObject({ manifest: { signature: { appearance } } });
  expect(readManifest({ signer, signature: { appearance: "letter-2" } })).toMatchObject({
    manifest: { signature: { appearance: "letter-2" } },
  });
});

test("a byte order mark is no problem", () => {
  expect(readManifest(`\uFEFF${JSON.stringify({ signer })}`).ok).toBe(true);
  expect(readManifest(Buffer.from(`\uFEFF${JSON.stringify({ signer })}`)).ok).toBe(true);
});

describe("one clear sentence for each field", () => {
  test.each<[string, unknown, string, string]>([
    ["a missing signer", {}, "signer", "is missing"],
    ["a missing address", { signer: { mobile_phone_number: "+34699999999" } }, "signer.email", "is missing"],
    ["a missing phone", { signer: { email: signer.email } }, "signer.mobile_phone_number", "is missing"],
    [
      "a wrong address",
      { signer: { ...signer, email: "ana" } },
      "signer.email",
      "must be an e-mail address like ana@example.com",
    ],
    ["an unknown key", { signer, sinature: {} }, "sinature", "is not a key that is known here"],
    ["an unknown key within", { signer: { ...signer, phone: "1" } }, "signer.phone", "is not a key that is known here"],
    [
      "another workflow",
      { signer, workflow: "fax" },
      "workflow",
      'must be "videoid" or "videoid-external" or "classic"',
    ],
    [
      "another method",
      { signer, authentication: { method: "fax" } },
      "authentication.method",
      'must be "sms" or "external"',
    ],
    [
      "half a method",
      { signer, authentication: { method: "external", type: "t" } },
      "authentication.value",
      "is missing",
    ],
    ["another approval", { signer, approval: "maybe" }, "approval", 'must be "manual" or "auto"'],
    [
      "an open callback",
      { signer, callback_url: "ftp://example.com" },
      "callback_url",
      "must be an address that begins with https://",
    ],
    [
      "a word for a number",
      { signer, registration_authority: "main" },
      "registration_authority",
      "must be the number of a registration authority, like 139",
    ],
    ["a long reference", { signer, reference: "x".repeat(201) }, "reference", "must not be longer than 200 characters"],
    [
      "a number for a list",
      { signer, signature: { appearance: { text: 1 } } },
      "signature.appearance.text",
      "must be a list",
    ],
    ["an appearance without a place", placed({ page: 1 }), "signature.appearance.position", "is missing"],
    ["a place that is none", placed({ position: "10, 20" }), "signature.appearance.position", PLACE],
    ["a place of fractions", placed({ position: "1.5, 2, 3, 4" }), "signature.appearance.position", PLACE],
    ["corners the wrong way round", placed({ position: "110, 20, 10, 60" }), "signature.appearance.position", PLACE],
    ["a flat place", placed({ position: "10, 20, 110, 20" }), "signature.appearance.position", PLACE],
    [
      "a page before the first",
      placed({ position: "1,2,3,4", page: -1 }),
      "signature.appearance.page",
      "must be at least 0",
    ],
    [
      "a time zone that is none",
      placed({ position: "1,2,3,4", timezone: "Madrid" }),
      "signature.appearance.timezone",
      "must be the name of a time zone, like Europe/Madrid",
    ],
    [
      "an offset for a time zone",
      placed({ position: "1,2,3,4", timezone: "+02:00" }),
      "signature.appearance.timezone",
      "must be the name of a time zone, like Europe/Madrid",
    ],
    [
      "a time zone in small letters",
      placed({ position: "1,2,3,4", timezone: "europe/madrid" }),
      "signature.appearance.timezone",
      "must be the name of a time zone, like Europe/Madrid",
    ],
    ["a number for an appearance", { signer, signature: { appearance: 1 } }, "signature.appearance", TEMPLATE],
    ["a template that is a path", { signer, signature: { appearance: "../x" } }, "signature.appearance", NAME],
    ["a variable that is none", placed({ position: "1,2,3,4", text: ["%(NAME)s"] }), `${TEXT}.0`, VARIABLES],
    ["half a variable", placed({ position: "1,2,3,4", text: ["ok", "%(CN)"] }), `${TEXT}.1`, VARIABLES],
    ["a percentage", placed({ position: "1,2,3,4", text: ["100 % sure"] }), `${TEXT}.0`, VARIABLES],
    ["a date of other words", placed({ position: "1,2,3,4", date: "%d.%N" }), "signature.appearance.date", DATE],
    ["a date that breaks off", placed({ position: "1,2,3,4", date: "%d.%" }), "signature.appearance.date", DATE],
    ["an image elsewhere", placed({ position: "1,2,3,4", image: "../a.png" }), "signature.appearance.image", IMAGE],
    ["a hidden image", placed({ position: "1,2,3,4", image: ".a.png" }), "signature.appearance.image", IMAGE],
    ["a list", [], "manifest", "must be an object in braces"],
    ["nothing", "", "manifest", "must not be empty"],
    ["half a text", '{"signer":', "manifest", "must be JSON; look for a missing quote, comma or brace"],
    [
      "another encoding",
      Buffer.from("\uFEFF{}", "utf16le"),
      "manifest",
      "must be text in UTF-8; save it again with that encoding",
    ],
    ["a key twice", '{"signer":{},"signer":{}}', "manifest", 'must name each key once, but "signer" is there twice'],
    [
      "a key twice, written differently",
      '{"a":1,"\\u0061":2}',
      "manifest",
      'must name each key once, but "a" is there twice',
    ],
    ["a prototype", JSON.parse('{"__proto__":{"signer":{}}}'), "__proto__", "is not a key that is known here"],
    [
      "a prototype within",
      '{"signer":{"__proto__":{"email":"a@b.co"}}}',
      "signer.__proto__",
      "is not a key that is known here",
    ],
  ])("for %s", (_what, json, field, message) => {
    expect(problemsOf(json)).toContainEqual({ field, message });
  });

  test("for too much", () => {
    expect(problemsOf(" ".repeat(MANIFEST_BYTES + 1))).toEqual([
      { field: "manifest", message: "must not be larger than 64 KiB" },
    ]);
  });
});

test("what is wrong with a field is told once; time zones have the names they are known by", () => {
  expect(problemsOf(placed({ position: "10, 20", timezone: "+02:00" }))).toHaveLength(2);
  for (const timezone of ["Europe/Madrid", "UTC", "Asia/Calcutta", "Etc/GMT+3"]) {
    expect(problemsOf(placed({ position: "1,2,3,4", timezone })), timezone).toEqual([]);
  }
});

test("the published schema refuses what the program refuses by its form", () => {
  const { position, timezone } =
    (
      manifestJsonSchema() as {
        properties: {
          signature: {
            properties: {
              appearance: { anyOf: { pattern?: string; properties?: Record<string, { pattern?: string }> }[] };
            };
          };
        };
      }
    ).properties.signature.properties.appearance.anyOf[1]?.properties ?? {};
  expect("10, 20, 110, 60").toMatch(new RegExp(position?.pattern ?? "$^"));
  expect("10, 20").not.toMatch(new RegExp(position?.pattern ?? ""));
  expect("+02:00").not.toMatch(new RegExp(timezone?.pattern ?? ""));
});

test("the same key in two objects is not a repetition", () => {
  expect(
    problemsOf('{"signer":{"email":"a@b.co"},"x":{"email":1},"y":[{"email":1},{"email":2}]}').map(
      ({ message }) => message,
    ),
  ).not.toContain(expect.stringContaining("twice"));
});

test("a value is never repeated, whatever it is and wherever it stands", () => {
  const canary = "canary-7f3a";
  const places = Object.keys(Manifest.shape);
  fc.assert(
    fc.property(
      fc.constantFrom(...places),
      fc.constantFrom("email", "given_name", "method", "appearance"),
      (place, within) => {
        for (const value of [canary, { [within]: canary }, { [within]: { position: canary } }, [canary]]) {
          expect(JSON.stringify(problemsOf({ signer: { email: canary }, [place]: value }))).not.toContain(canary);
        }
      },
    ),
  );
});

test("no input makes the reader throw", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), fc.uint8Array(), fc.object(), fc.anything()), (json) => {
      const read = readManifest(json);
      if (!read.ok) expect(read.problems.length).toBeGreaterThan(0);
    }),
  );
});

test("a manifest nested a hundred thousand deep is refused and not followed", () => {
  expect(problemsOf("[".repeat(30_000) + "]".repeat(30_000))).toEqual([
    { field: "manifest", message: "must be an object in braces" },
  ]);
});

test("its JSON Schema forbids unknown keys and takes a number or text as registration authority", () => {
  const schema = manifestJsonSchema() as {
    additionalProperties: boolean;
    required: string[];
    properties: Record<string, object>;
  };
  expect(schema).toMatchObject({ type: "object", additionalProperties: false, required: ["signer"] });
  expect(Object.keys(schema.properties)).toEqual(Object.keys(Manifest.shape));
  expect(JSON.stringify(schema.properties["registration_authority"])).toMatch(/"string".*"integer"/);
});

const SIDES = { document_front: "front.jpg", document_rear: "rear.jpg" };

describe("what a workflow needs, and has no use for, is said by field", () => {
  test.each<[string, unknown, string, string]>([
    [
      "files for a signer who identifies on video",
      { signer, identity: SIDES },
      "identity",
      'goes with "workflow": "videoid-external" or "classic" only',
    ],
    [
      "a classic signer without a name",
      classic(SIDES, { signer: { ...CLASSIC_SIGNER, surname_1: undefined } }),
      "signer.surname_1",
      'is missing: "workflow": "classic" needs it',
    ],
    [
      "a classic request with one side of the document",
      classic({ document_front: "front.jpg" }),
      "identity.document_rear",
      'is missing: "workflow": "classic" needs it',
    ],
    [
      "a video of a classic request",
      classic({ ...SIDES, video: "v.mp4" }),
      "identity.video",
      'goes with "workflow": "videoid-external" only',
    ],
    [
      "an external identification that found nothing out",
      { ...external(SIDES), identity: SIDES },
      "identity.ocr_data",
      'is missing: "workflow": "videoid-external" needs it',
    ],
    [
      "one file for two things",
      classic({ ...SIDES, document_rear: "front.jpg" }),
      "identity.document_rear",
      "names the same file as identity.document_front: each needs a file of its own",
    ],
    [
      "one file for two things, spelt in two ways",
      classic({ document_front: "Jos\u00e9.jpg", document_rear: "Jose\u0301.jpg" }),
      "identity.document_rear",
      "names the same file as identity.document_front: each needs a file of its own",
    ],
    ...["../front.jpg", "a/b.jpg", "a\\b.jpg", ".hidden", "a\0b"].map((name): [string, unknown, string, string] => [
      `a name that is a path, or hidden (${JSON.stringify(name)})`,
      classic({ ...SIDES, document_front: name }),
      "identity.document_front",
      "must be the name of a file that is handed in as well, without a folder",
    ]),
  ])("for %s", (_what, json, field, message) => {
    expect(problemsOf(json)).toContainEqual({ field, message });
  });

  test("and nothing is said of one that has all it needs", () => {
    expect([classic(SIDES), external({ ...SIDES, video: "v.mp4" }), external({})].flatMap(problemsOf)).toEqual([]);
  });
});

test("of the files that a manifest names only what they show goes on, and of the rest everything", () => {
  const read = readManifest(external({ ...SIDES, video: "Ana.mp4" }, { reference: "r" }));
  if (!read.ok) throw new Error("it is one that can be used");
  expect(namedFiles(read.manifest.identity)).toEqual([
    { role: "document_front", name: "front.jpg" },
    { role: "document_rear", name: "rear.jpg" },
    { role: "video", name: "Ana.mp4" },
  ]);
  const { identification, ...wishes } = toWishes(read.manifest);
  expect(wishes).toEqual({
    workflow: "videoid-external",
    signer,
    reference: "r",
    authentication: { method: "sms" },
  });
  const { acceptance, ocr_data, security_checks, similarity_level } = external({}).identity;
  expect(identification).toEqual({ acceptance, ocr_data, security_checks, similarity_level });
  expect(namedFiles(undefined)).toEqual([]);
});
