import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { verifySignedPdf } from "../../src/files/verify.ts";
import { readJson, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";

test("documents come back signed: identification, approval, code, fetching, deletion, with evidence of it all", async () => {
  const house = await startHouse();
  const documents = [
    { name: "lease.pdf", bytes: await samplePdf() },
    { name: "annex.pdf", bytes: await samplePdf({ pages: 3, objectStreams: true }) },
  ];
  const id = await house.submit({ reference: "lease-7" }, documents);

  await house.waits(id, "identification");
  const seen = await house.call("GET", `/v1/requests/${id}`);
  expect(seen.body).toMatchObject({ id, stage: "identify", state: "waiting", reference: "lease-7" });
  expect(seen.body["videoid_link"]).toMatch(/^http/);
  const pk = seen.body["request_pk"] as number;
  house.simulator.identify(pk, "complete");

  await house.waits(id, "approval");
  expect((await house.call("POST", `/v1/requests/${id}/approve`)).status).toBe(202);

  await house.waits(id, "code");
  const contract = await fetch(`${house.api}/v1/requests/${id}/contract`, {
    headers: { authorization: `Bearer ${house.keyRing.apiKeys[0]?.secret ?? ""}` },
  });
  expect(
    Buffer.from(await contract.arrayBuffer())
      .subarray(0, 5)
      .toString(),
  ).toBe("%PDF-");
  expect((await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) })).status).toBe(202);

  await house.reaches(id, "cleanup", "done");
  const folder = join(house.dataDir, "signed", id);
  for (const { name, bytes } of documents) {
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const signedPath = join(folder, `${name}.signed.pdf`);
    const verified = await verifySignedPdf({
      signedPath,
      original: { sizeBytes: bytes.length, sha256 },
      incremental: true,
    });
    expect(verified.digestAlgorithm).toBe("sha256");
  }
  const evidence = readJson(join(folder, "evidence.json"));
  expect(evidence).toMatchObject({
    id,
    signer: SIGNER,
    reference: "lease-7",
    approval: { by: "api:admin" },
    provider: { request_pk: pk },
  });
  const view = await house.call("GET", `/v1/requests/${id}`);
  const signedHash = createHash("sha256")
    .update(readFileSync(join(folder, "lease.pdf.signed.pdf")))
    .digest("hex");
  expect(view.body).toMatchObject({
    state: "done",
    documents: [{ name: "lease.pdf", signed_sha256: signedHash }, { name: "annex.pdf" }],
  });

  expect(["create", "approve", "otp", "sign"].map(house.effects)).toEqual([1, 1, 1, 1]);
  expect(house.effects("upload")).toBe(2);
  expect(house.effects("delete-document")).toBe(2);
  for (const canary of [
    SIGNER.email,
    SIGNER.mobile_phone_number,
    "Canaria",
    "canary-rao",
    "canary-billing",
    house.keyRing.webhookSecret,
  ]) {
    expect(house.logged()).not.toContain(canary);
  }
});
