import { mkdirSync, writeFileSync } from "node:fs";
import { beforeAll, expect, test } from "vitest";
import { verifyRequest } from "../../src/cli/verify-request.ts";
import type { SignRequest } from "../../src/core/request.ts";
import { createDocuments } from "../../src/files/documents.ts";
import { createResults } from "../../src/files/results.ts";
import { toEvidence } from "../../src/workers/evidence.ts";
import { createOpenssl } from "../helpers/openssl.ts";
import { dataFolder, factsOf, scratchFolder } from "../helpers/pdfs.ts";
import { newId } from "../helpers/toy.ts";

const base = scratchFolder("verify-detached");
const openssl = createOpenssl(base);
const content = Buffer.from("any content");

beforeAll(() => {
  openssl.certify("ana");
});

/** A request as its evidence alone tells of it, with a signature over `over`; what `signpipe verify` finds. */
async function findings(over: Buffer, document: object): Promise<string[]> {
  const at = dataFolder(base);
  const id = newId();
  const p7m = openssl.sign(over, { signer: "ana" });
  mkdirSync(at("signed", id));
  writeFileSync(at("signed", id, "x.p7m"), p7m);
  const stored = { id: `${id}/1.pdf`, name: "x", ...factsOf(content), ...document };
  const signed = [{ id: stored.id, uid: "u1", name: "x.p7m", ...factsOf(p7m) }];
  const facts = { documents: [stored], format: "cms", signed, requestPk: 7, authentication: { method: "sms" } };
  const request = { id, workflow: "classic", updatedMs: 0, facts };
  const results = createResults({ dir: at("signed") });
  await results.writeEvidence(id, toEvidence(request as unknown as SignRequest, [], undefined));
  const documents = createDocuments({ dir: at("work") });
  const verified = await verifyRequest(id, [], {
    documents,
    results,
    archive: at("archive"),
    incremental: true,
    compare: "text",
  });
  expect(verified.signed_files).toBe(1);
  return verified.findings.map(({ code }) => code).filter((code) => code !== "not-in-journal");
}

test("evidence tells enough to check a signature apart, over a file and over what a hash file gave", async () => {
  expect(await findings(content, {})).toEqual([]);
  expect(await findings(Buffer.from("other"), {})).toEqual(["signature-other-document"]);
  const digest = { algorithm: "sha256", value: factsOf(Buffer.from("other")).sha256 };
  expect(await findings(Buffer.from("other"), { digest })).toEqual([]);
  expect(await findings(content, { digest })).toEqual(["signature-other-document"]);
});
