import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Request } from "../../src/cli/client.ts";
import { checkSigned, findJudges } from "../../src/cli/demo-check.ts";
import { makeSamples } from "../../src/cli/samples.ts";
import { aRequest } from "../helpers/cli-house.ts";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "signpipe-check-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("a PDF that nobody signed is not taken for a signed one, and one that is missing from the evidence is told", async () => {
  const { alone } = await makeSamples(new Date());
  const bytes = alone.files[1]?.bytes ?? new Uint8Array();
  writeFileSync(join(folder, "a.pdf.signed.pdf"), bytes);
  const documents = [{ name: "a.pdf", sha256: sha256(bytes), signed: { name: "a.pdf.signed.pdf" } }];
  writeFileSync(join(folder, "evidence.json"), JSON.stringify({ documents }));
  const request = aRequest({
    state: "done",
    documents: [
      { name: "a.pdf", sha256: sha256(bytes), signed_sha256: "0".repeat(64) },
      { name: "b.pdf", sha256: "1".repeat(64), signed_sha256: "2".repeat(64) },
    ],
  }) as Request;

  const checked = await checkSigned(request, { folder, originals: new Map([["a.pdf", bytes]]), judges: [] });
  expect(checked.map(({ by }) => by)).toEqual([[], []]);
  expect(checked[0]?.problems[0]).toBe("the file is not the one the API tells of");
  expect(checked[0]?.problems).toHaveLength(2);
  expect(checked[1]?.problems).toEqual(["evidence.json names no signed file"]);
});

test("a signature apart that is none is not taken for one, neither by us nor by another program", async () => {
  const bytes = Buffer.from("a,b");
  const p7m = Buffer.from("3003020101", "hex");
  writeFileSync(join(folder, "a.csv.p7m"), p7m);
  const documents = [{ name: "a.csv", sha256: sha256(bytes), signed: { name: "a.csv.p7m" } }];
  writeFileSync(join(folder, "evidence.json"), JSON.stringify({ documents }));
  const request = aRequest({
    state: "done",
    documents: [{ name: "a.csv", sha256: sha256(bytes), signed_sha256: sha256(p7m) }],
  }) as Request;
  const judges = (await findJudges()).filter((name) => name === "openssl");
  const [checked] = await checkSigned(request, { folder, originals: new Map([["a.csv", bytes]]), judges });
  expect(checked?.by).toEqual([]);
  expect(checked?.problems[0]).toMatch(/^The CMS signature is not valid/);
  expect(checked?.problems.slice(1)).toHaveLength(judges.length);
});
