import fc from "fast-check";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { CALLS } from "../../src/provider/calls.ts";
import { ANSWERS, toRetryAfterMs } from "../../src/provider/errors.ts";
import { quoteFilename } from "../../src/provider/multipart.ts";
import { redact } from "../../src/provider/redact.ts";
import { isErrorBody, toBody, toText } from "../../src/provider/wire.ts";

const json = (value: unknown) => toBody(JSON.stringify(value));

describe("what a body says", () => {
  test.each([
    [{ details: "a", detail: "b", message: "c" }, "a"],
    [{ detail: "b", message: "c" }, "b"],
    [{ message: "c", messsage: "d" }, "c"],
    [{ messsage: "d", error: "e" }, "d"],
    [{ error: "e" }, "e"],
    [{ details: null, detail: "", message: "c" }, "c"],
    [{ details: { email: ["bad"] } }, '{"email":["bad"]}'],
    [["x"], '["x"]'],
    ["Request not found", "Request not found"],
    [{ other: 1 }, '{"other":1}'],
  ])("%j says %s", (value, text) => {
    expect(toText(json(value))).toBe(text);
  });

  test("a byte order mark does not hide JSON, and a page is known by its first tag", () => {
    expect(toBody('\uFEFF{"a":1}')).toEqual({ kind: "json", value: { a: 1 } });
    expect(toBody("  <!DOCTYPE html>")).toEqual({ kind: "html" });
    expect(toBody(" \n")).toEqual({ kind: "empty" });
    expect(toBody("OTP generated")).toEqual({ kind: "text", text: "OTP generated" });
  });
});

describe("an error inside a body", () => {
  test.each([
    { status: "error", message: "x" },
    { status: "ERROR" },
    { status: "404 Not Found", details: "x" },
    { status: "Invalid JSON" },
    { success: false },
    { code: "412", id: "1", error: "Invalid request status" },
    { detail: [{ loc: ["body"], msg: "m", type: "t" }] },
  ])("%j is one", (value) => {
    expect(isErrorBody(json(value))).toBe(true);
  });

  test.each([
    { status: "success", detail: {} },
    { status: "200 OK", details: "Documents correctly signed" },
    { status: "success", error: "" },
    { pk: 1, status: "VIDEOERROR" },
    { pk: 1, status: "ERROR" },
    { detail: [{ name: "file", uid: "u" }] },
    "OTP generated",
  ])("%j is none", (value) => {
    expect(isErrorBody(json(value))).toBe(false);
  });
});

describe("redaction", () => {
  test("the bytes of a file that comes back in Base64 are removed, long words and paths are not", () => {
    const picture = Buffer.from(Array.from({ length: 120 }, (_, i) => (i * 37) % 251)).toString("base64");
    expect(redact(`input: "${picture}" is no picture`, [])).toBe('input: "[data]" is no picture');
    const path = "/oneshot/api/v1/document/388141/604b889f-11c4-4b5e-9d8b-3a86f2c1d7e5/signed";
    expect(redact(path, [])).toBe(path);
    expect(redact("w".repeat(100), [])).toBe("w".repeat(100));
  });

  test("keeps the provider's own numbers and uids, and drops addresses and phone numbers", () => {
    const uid = "604b889f-0000-4000-8000-123456789012";
    expect(redact(`Request 1012632 of ana@example.com +34 699 999 999 / 0034699999999 has ${uid}`, [])).toBe(
      `Request 1012632 of [e-mail] [number] / [number] has ${uid}`,
    );
  });

  test("makes one line of at most the asked length", () => {
    expect(redact("a\r\n\tb\u0000\u202Ec", [])).toBe("a b c");
    expect(redact("x".repeat(500), [], { atMost: 50 })).toBe(`${"x".repeat(49)}…`);
  });

  test("finds a secret in every guise, also where the text is cut", () => {
    const secret = 'pa"ss wörd/+';
    const guises = [
      secret,
      Buffer.from(secret).toString("base64"),
      JSON.stringify(secret),
      encodeURIComponent(secret),
      secret.toUpperCase(),
    ];
    for (const guise of guises) expect(redact(`<${guise}>`, [secret])).toMatch(/^<"?\[removed\]"?>$/);
    const long = "s".repeat(200);
    expect(redact(`${"a@b.example ".repeat(335)}${long}`, [long])).not.toContain("ss");
  });

  test.each([
    ["Lease Ana López.pdf", "cannot read Lease Ana López: broken", "cannot read [removed]: broken"],
    ["Lease Ana López.pdf", "'lease_ana_lopez' or Lease-Ana-Lopez.PDF", "'[removed]' or [removed].PDF"],
    ["Lease Ana López.pdf", "/x?v=Lease%20Ana%20L%C3%B3pez&y", "/x?v=[removed]&y"],
    ["ana.pdf.p7m", "ana.pdf, Ana and Anatomy", "[removed], [removed] and Anatomy"],
    ["12345678Z.jpg", "no such holder: 12345678Z", "no such holder: [removed]"],
    ["passport (Ana).jpg", "passport (Ana) is no picture", "[removed] is no picture"],
  ])("of a file called %s the bare name goes as well: %s", (name, text, line) => {
    expect(redact(text, [name])).toBe(line);
  });

  test.each([
    ["NFC", "NFD"],
    ["NFD", "NFC"],
  ] as const)("a secret written in %s is found in a text in %s", (one, other) => {
    const line = redact(
      "lease Ana López, lease Ana López.pdf, López".normalize(other),
      ["lease Ana López.pdf", "López"].map((secret) => secret.normalize(one)),
    );
    expect(line).toBe("[removed], [removed], [removed]");
  });

  test.each([
    ["document_front.jpg", "document_front is missing"],
    ["Contract.pdf", "The contract is not there, on page 1"],
    ["1.pdf", "Request 1012632 has 1 document"],
    ["a.pdf", "a document is missing"],
    ["Ana López", "Ana is missing"],
  ])("a file called %s leaves the provider's own words: %s", (name, text) => {
    expect(redact(text, [name])).toBe(text);
  });

  test("no secret of three characters or more survives, whatever surrounds it", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 3, maxLength: 30 }), fc.string(), fc.string(), (secret, before, after) => {
        fc.pre(!"[removed][e-mail][number][data]…".includes(secret.trim()) && secret.trim().length >= 3);
        const rest = redact(before + after, []);
        fc.pre(!rest.includes(secret));
        expect(redact(`${before} ${secret} ${after}`, [secret], { atMost: 5000 })).not.toContain(secret);
      }),
    );
  });
});

describe("Retry-After", () => {
  const nowMs = Date.parse("2026-01-01T00:00:00Z");
  test.each([
    ["30", 30_000],
    [" 30 ", 30_000],
    ["0", 1_000],
    ["999999", 900_000],
    ["Thu, 01 Jan 2026 00:01:30 GMT", 90_000],
    ["Wed, 31 Dec 2025 00:00:00 GMT", 1_000],
    ["Fri, 02 Jan 2026 00:00:00 GMT", 900_000],
    ["-5", undefined],
    ["1.5", undefined],
    ["soon", undefined],
    ["", undefined],
    [undefined, undefined],
  ])("%s means %s ms", (header, waitMs) => {
    expect(toRetryAfterMs(header, nowMs)).toBe(waitMs);
  });
});

test("no file name can end its quotes or its line", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (name) => {
      const quoted = quoteFilename(name);
      expect(quoted.slice(1, -1)).not.toMatch(/["\\\p{Cc}]/u);
      expect(Buffer.from(quoted).toString("utf8")).toBe(quoted);
    }),
  );
});

test("each row of the table of answers names its source, and only retries that wait have a wait", () => {
  for (const { source, kind, afterMs, code } of ANSWERS) {
    expect(source).toMatch(/^(docs\/provider\.md §|RFC \d+ §)/);
    expect(code).toMatch(/^[a-z]+(-[a-z]+)*$/);
    if (kind === "permanent") expect(afterMs).toBeUndefined();
  }
  expect(ANSWERS.at(-1)?.status).toContain("any");
});

test("docs/provider.md has every call of the client, with what it is known from and what tests it, and no other", () => {
  const text = readFileSync("docs/provider.md", "utf8");
  const endpoints = text.slice(text.indexOf("\n## Endpoints"), text.indexOf("\n## Statuses"));
  const rows = [...endpoints.matchAll(/^\| `((?:GET|POST|PUT|DELETE) [^`]+)` \| `\w+`.* \| .+ \| `test\/.+ \|$/gm)];
  const made = Object.values(CALLS).map(({ method, path }) => `${method} ${path}`);
  expect(rows.map(([, call]) => call).sort()).toEqual(made.sort());
});
