import { afterAll, beforeAll, expect, test } from "vitest";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { RAO, samplePdf, SIGNER, startHouse } from "./house.ts";
import type { House, Uploaded } from "./house.ts";

let house: House;
beforeAll(async () => void (house = await startHouse()));
afterAll(() => house.simulator.close());

test("a request goes from its creation to a signed document that is then deleted", async () => {
  const created = await house.call("POST", "/videoid", SIGNER);
  expect(created.status).toBe(200);
  expect(created.body).toMatchObject({
    status: "success",
    messsage: expect.stringMatching(/^VideoID created with pk \d+$/),
  });
  const { detail } = created.body as { detail: { request_pk: number; videoid_pk: number; videoid_link: string } };
  const { request_pk: pk, videoid_pk: videoidPk } = detail;
  expect(pk).not.toBe(videoidPk);

  const page = await fetch(detail.videoid_link, {
    method: "POST",
    body: new URLSearchParams({ outcome: "complete", given_name: "Ana" }),
  });
  expect(page.status).toBe(200);
  expect((await house.call("GET", `/request/${pk}`)).body).toMatchObject({
    details: { pk, status: "VIDEOREVIEW", given_name: "Ana" },
  });

  const approved = await house.call("POST", `/videoid/${videoidPk}/approve`, RAO);
  expect(approved.body).toEqual({ status: "success", message: "Request approved successfully" });

  const [one, two] = [await samplePdf({ text: "one" }), await samplePdf({ text: "two" })];
  const uploaded = await house.upload(pk, { file: one, file2: two });
  const [first, second] = (uploaded.body as { detail: [Uploaded, Uploaded] }).detail;
  expect([first.name, second.name]).toEqual(["file", "file2"]);

  const contract = await house.download(`/contract/${pk}`);
  expect(contract.subarray(0, 5).toString()).toBe("%PDF-");
  expect((await house.call("POST", `/otp/${pk}`)).body).toEqual({ status: "success", message: "OTP generated" });
  const signed = await house.call("POST", `/sign/${pk}`, { secret: house.simulator.codeOf(pk) });
  expect(signed.body).toEqual({ status: "success", message: "Documents correctly signed" });
  expect((await house.call("GET", `/request/${pk}`)).body).toMatchObject({
    details: {
      status: "ISSUED",
      certificate_set: [{ status: "VALID", valid_from: expect.stringMatching(/^\d{8} \d\d:\d\d:\d\d$/) }],
    },
  });

  const bySeed = await house.download(`/document/${pk}/signed/${first.uid}`);
  const byReference = await house.download(`/document/${pk}/${first.uid}?document_type=signed`);
  expect(byReference.equals(bySeed)).toBe(true);
  expect(bySeed.subarray(0, one.length).equals(one)).toBe(true);
  expect((await house.download(`/document/${pk}/${second.uid}?document_type=original`)).equals(two)).toBe(true);
  const signedContract = await house.download(`/contract/${pk}`);
  expect(signedContract.subarray(0, contract.length).equals(contract)).toBe(true);
  expect(signedContract.length).toBeGreaterThan(contract.length);

  expect((await house.call("DELETE", `/document/${pk}/${first.uid}`)).status).toBe(200);
  expect((await house.call("GET", `/document/${pk}/signed/${first.uid}`)).status).toBe(404);
  expect((await house.call("DELETE", `/document/${pk}`)).body).toEqual({
    status: "success",
    message: `Documents deleted for Request ${pk}`,
  });
  expect((await house.call("DELETE", `/document/${pk}`)).status).toBe(404);

  expect(house.effects(pk)).toEqual([
    "create",
    "identify",
    "approve",
    "upload",
    "upload",
    "contract",
    "otp",
    "sign",
    "download-signed",
    "download-signed",
    "download-original",
    "contract",
    "delete-document",
    "delete-all",
  ]);
});

test("the ledger file holds the same effects as the memory and nothing personal", async () => {
  const { pk } = await house.armed(await samplePdf());
  const text = readFileSync(join(house.simulator.dataDir, "ledger.jsonl"), "utf8");
  const lines = text
    .trimEnd()
    .split("\n")
    .map((line): unknown => JSON.parse(line));
  expect(lines).toEqual(house.simulator.ledger);
  expect(text).not.toContain(SIGNER.email);
  expect(text).not.toContain(SIGNER.mobile_phone_number);
  expect(text).not.toContain(house.simulator.codeOf(pk));
});

test("one document is answered with an object, and each shape of the answer can be chosen", async () => {
  const { pk } = await house.ready();
  const file = await samplePdf();
  expect((await house.upload(pk, { file })).body).toEqual({
    status: "success",
    detail: { name: "file", uid: expect.any(String) },
  });
  house.simulator.set({ uploadShape: "array" });
  expect((await house.upload(pk, { file })).body).toMatchObject({ detail: [{ name: "file" }] });
  house.simulator.set({ uploadShape: "old" });
  expect((await house.upload(pk, { file })).body).toEqual({
    status: "200 OK",
    details: expect.stringMatching(/^[0-9a-f-]{36}$/),
  });
  expect((await house.upload(pk, { file, file2: file })).body).toMatchObject({
    details: [{ key: "file2", digest: expect.any(String) }, { key: "file" }],
  });
  house.simulator.set({ uploadShape: "new" });
});

test("an external authentication signs without a code, alone or together with a secret", async () => {
  for (const secret of [undefined, "anything"]) {
    const { pk } = await house.ready();
    await house.upload(pk, { file: await samplePdf() });
    const pair = { ext_unlock_type: "biometric", ext_unlock_value: "12345678-12345678" };
    expect((await house.call("POST", `/sign/${pk}`, { ...pair, ...(secret ? { secret } : {}) })).status).toBe(200);
  }
});

test("tokens stand in for the officer's credentials and never show their secrets", async () => {
  const { rao: _rao, ...credentials } = RAO;
  const made = await house.call("POST", "/token", { ...credentials, env: "sandbox" });
  const { token_uid: token } = (made.body as { details: { token_uid: string } }).details;
  expect((await house.call("GET", `/token/${token}`)).body).toEqual({
    status: "success",
    details: { username: RAO.username, password: true, pin: true },
  });
  expect((await house.call("GET", "/tokens")).body).toMatchObject({ details: { [token]: { password: true } } });
  expect((await house.call("POST", "/token", credentials)).body).toMatchObject({
    message: "A token with these credentials already exist!",
  });
  const { request_pk: pk, videoid_pk: videoidPk } = await house.create();
  house.simulator.identify(pk, "complete");
  expect((await house.call("POST", `/videoid/${videoidPk}/approve`, { token, rao: 1400 })).status).toBe(200);
  expect((await house.call("DELETE", `/token/${token}`)).status).toBe(200);
  expect((await house.call("GET", `/token/${token}`)).status).toBe(404);
});

test("people who act by themselves lead a request to its approval", async () => {
  const auto = await startHouse({ humans: { signer: "auto", signerOutcome: "incomplete-then-complete", rao: "auto" } });
  try {
    const { request_pk: pk } = await auto.create();
    await expect.poll(() => auto.simulator.statusOf(pk)).toBe("ENROLLREADY");
    expect(auto.effects(pk)).toEqual(["create", "identify", "identify", "approve"]);
  } finally {
    await auto.simulator.close();
  }
});
