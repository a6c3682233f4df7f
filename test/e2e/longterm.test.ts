import { join } from "node:path";
import { expect, test } from "vitest";
import { runCommand } from "../helpers/cli-house.ts";
import { samplePdf, startHouse } from "../helpers/house.ts";
import { pdfsig } from "../helpers/pdfsig.ts";

test("signatures that carry what a validation years later needs are fetched, kept, and told of", async () => {
  const house = await startHouse({
    settings: { APPROVAL: "auto" },
    simulator: { scenarios: ["long-term"], humans: { signer: "auto", signerDelayMs: 0 } },
  });
  const documents = [
    { name: "lease.pdf", bytes: await samplePdf() },
    { name: "annex.pdf", bytes: await samplePdf({ pages: 3, objectStreams: true }) },
  ];
  const id = await house.submit({}, documents);
  await house.waits(id, "code");
  expect((await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) })).status).toBe(202);
  await house.reaches(id, "cleanup", "done");
  for (const { name } of documents) {
    const said = pdfsig(join(house.dataDir, "signed", id, `${name}.signed.pdf`));
    if (said !== undefined) expect(said).toContain("Signature is Valid");
  }
  const env = { DATA_DIR: house.dataDir };
  const { exitCode, out } = await runCommand(["verify", id], { env });
  expect([exitCode, out]).toEqual([0, expect.stringContaining("long-term data: 6 certificates, 2 revocation entries")]);
  const json = JSON.parse((await runCommand(["verify", id, "--json"], { env })).out) as object;
  expect(json).toMatchObject({ requests: [{ validation_data: { files: 2, certificates: 6, revocations: 2 } }] });
});
