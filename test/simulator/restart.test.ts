import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MP4, RAO, samplePdf, SIGNER, startHouse } from "./house.ts";
import type { House, Uploaded } from "./house.ts";
import type { SimulatorOptions } from "../../src/simulator/index.ts";

let dataDir = "";
let house: House;
beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), "simulator-restart-"));
  house = await startHouse({ dataDir });
});
afterEach(async () => {
  await house.simulator.close();
  rmSync(dataDir, { recursive: true, force: true });
});

async function restart(options: SimulatorOptions = {}): Promise<void> {
  await house.simulator.close();
  house = await startHouse({ dataDir, ...options });
  // It listens where it did: connections of before are found to be closed by the first who tries.
  const health = () => fetch(`${house.simulator.origin}/control/health`).then(({ status }) => status);
  await expect.poll(() => health().catch(() => 0)).toBe(200);
}

test("a request goes on where it was: link, documents, code, signature", async () => {
  const { request_pk: pk, videoid_pk: videoidPk, videoid_link: link } = await house.create();
  await restart();
  const { pathname } = new URL(link);
  const body = new URLSearchParams({ outcome: "complete", given_name: "Ana" });
  expect((await fetch(house.simulator.origin + pathname, { method: "POST", body })).status).toBe(200);
  expect(house.simulator.statusOf(pk)).toBe("VIDEOREVIEW");
  await restart();
  expect((await house.call("POST", `/videoid/${videoidPk}/approve`, RAO)).status).toBe(200);
  const { body: uploaded } = await house.upload(pk, { file: await samplePdf() });
  const { uid } = (uploaded as { detail: Uploaded }).detail;
  await house.call("POST", `/otp/${pk}`);
  await restart();
  expect((await house.call("POST", `/otp/${pk}`)).status).toBe(412); // the minute goes on as well
  expect((await house.call("POST", `/sign/${pk}`, { secret: "wrong" })).status).toBe(403);
  const signed = await house.call("POST", `/sign/${pk}`, { secret: house.simulator.codeOf(pk) });
  expect(signed.status).toBe(200);
  const [pdf, contract] = [`/document/${pk}/signed/${uid}`, `/contract/${pk}`];
  const before = [await house.download(pdf), await house.download(contract)];
  await restart();
  expect([await house.download(pdf), await house.download(contract)]).toEqual(before);
  expect((await house.call("GET", `/request/${pk}`)).body).toMatchObject({
    details: { status: "ISSUED", given_name: "Ana", certificate_set: [{ status: "VALID" }] },
  });
  const { request_pk: next } = await house.create();
  expect(next).toBe(pk + 1);
});

test("wrong codes are counted over restarts, and the ledger goes on", async () => {
  const { pk, secret } = await house.armed(await samplePdf());
  for (let i = 0; i < 3; i++) {
    expect((await house.call("POST", `/sign/${pk}`, { secret: "wrong" })).status).toBe(403);
    await restart();
  }
  expect((await house.call("POST", `/sign/${pk}`, { secret })).status).toBe(403);
  expect(house.effects(pk)).toEqual([
    "create",
    "identify",
    "approve",
    "upload",
    "otp",
    ...Array(4).fill("sign-rejected"),
  ]);
  expect(house.simulator.ledger.map(({ seq }) => seq)).toEqual(house.simulator.ledger.map((_, i) => i + 1));
});

test("tokens, images, metadata, settings of the Optimizer and videos are still there", async () => {
  const { body: made } = await house.call("POST", "/token", { username: "1000001" });
  const { token_uid: token } = made.details as { token_uid: string };
  const { body: stored } = await house.call("POST", "/api/v1/metadata", { metadata: "YWJj", metadata_oid: "1.2.3" });
  const metadata = stored.details as unknown as string;
  await house.call("POST", "/api/v1/settings", { request: { default_ra: "44" } });
  const { videoid_pk: videoidPk } = await house.create();
  await house.form(`/videoid/${videoidPk}/video`, { video: MP4 });
  const gone = await house.call("POST", "/token", { username: "1000002" });
  await house.call("DELETE", `/token/${(gone.body.details as { token_uid: string }).token_uid}`);
  await restart();
  expect(Object.keys((await house.call("GET", "/tokens")).body.details ?? {})).toEqual([token]);
  expect((await house.call("GET", `/api/v1/metadata/${metadata}`)).body).toMatchObject({
    details: { metadata: "YWJj" },
  });
  expect((await house.call("GET", "/api/v1/settings")).body).toMatchObject({
    details: { request: { default_ra: "44" } },
  });
  expect((await house.download(`/videoid/${videoidPk}/video`)).equals(MP4)).toBe(true);
});

test("the clock stays ahead, and what was to happen happens: an asynchronous signing, a signer who acts", async () => {
  house.simulator.advanceClock(3_600_000);
  const pk = await house.classicPk({ useasync: "true" });
  await house.upload(pk, { file: await samplePdf() });
  await house.call("POST", `/otp/${pk}`);
  await house.call("POST", `/sign/${pk}`, { secret: house.simulator.codeOf(pk) });
  const { request_pk: other } = await house.create();
  await restart({ humans: { signer: "auto" } });
  const { aheadMs, now } = (await house.call("GET", "/control/clock")).body as { aheadMs?: number; now?: string };
  expect(aheadMs).toBe(3_600_000);
  expect(Date.parse(now ?? "") - Date.now()).toBeGreaterThan(3_500_000);
  await expect.poll(() => house.simulator.statusOf(other)).toBe("VIDEOREVIEW");
  house.simulator.advanceClock(2000);
  await expect.poll(() => house.simulator.statusOf(pk)).toBe("ISSUED");
});

test("what a kill has torn off is as if it had never been, and files of nobody are removed", async () => {
  const { request_pk: pk } = await house.create();
  await house.simulator.close();
  for (const name of ["state.jsonl", "ledger.jsonl"]) appendFileSync(join(dataDir, name), '["request","99');
  const orphan = join(dataDir, "documents", "463156ce-0000-4000-8000-000000000000.original");
  const foreign = join(dataDir, "documents", "notes.txt");
  for (const path of [orphan, foreign]) writeFileSync(path, "x");
  house = await startHouse({ dataDir });
  expect(house.simulator.statusOf(pk)).toBe("VIDEOPENDING");
  expect([existsSync(orphan), existsSync(foreign)]).toEqual([false, true]);
  await house.create();
  await restart();
  expect(house.effects()).toEqual(["create", "create"]);
});

async function spawned(): Promise<{ url: string; kill: () => Promise<void> }> {
  const cli = new URL("../../src/cli.ts", import.meta.url).pathname;
  const args = [cli, "simulate", "--port", "0", "--json", "--data-dir", dataDir];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const kill = async () => {
    child.kill("SIGKILL");
    await once(child, "exit");
  };
  return { url: (JSON.parse(line) as { url: string }).url, kill };
}

test("a kill loses nothing that was answered, and the next process listens where the last one did", async () => {
  await house.simulator.close();
  const first = await spawned();
  const headers = { "content-type": "application/json" };
  const created = await fetch(`${first.url}/videoid`, { method: "POST", headers, body: JSON.stringify(SIGNER) });
  const { detail } = (await created.json()) as { detail: { request_pk: number } };
  await first.kill();
  const second = await spawned();
  try {
    expect(second.url).toBe(first.url);
    const answer = (await (await fetch(`${second.url}/request/${detail.request_pk}`)).json()) as object;
    expect(answer).toMatchObject({ details: { status: "VIDEOPENDING", email: SIGNER.email } });
  } finally {
    await second.kill();
  }
  house = await startHouse({ dataDir });
});

test("a damaged memory stops the start and says where", async () => {
  await house.simulator.close();
  const path = join(dataDir, "state.jsonl");
  writeFileSync(path, `${readFileSync(path, "utf8")}not json\n`);
  await expect(startHouse({ dataDir })).rejects.toThrow(/state\.jsonl is damaged in line 4/);
  rmSync(path);
  house = await startHouse({ dataDir });
});

test("the memory does not grow with every change", async () => {
  const { request_pk: pk } = await house.create();
  const { scratchcard } = (await house.call("GET", `/request/${pk}`)).body.details as { scratchcard: string };
  const facts = { ...SIGNER, scratchcard, country_name: "ES" };
  for (let i = 0; i < 40; i++)
    await house.call("PUT", `/request/${pk}`, { ...facts, email: `${"x".repeat(60_000)}@example.com` });
  expect(statSync(join(dataDir, "state.jsonl")).size).toBeLessThan(2_000_000);
  await restart();
  expect((await house.call("GET", `/request/${pk}`)).body).toMatchObject({
    details: { email: expect.stringMatching(/^x{60000}@/) },
  });
});

test("without a folder of its own nothing is left", async () => {
  const other = await startHouse();
  const { dataDir: temporary } = other.simulator;
  await other.classicPk({});
  expect(readdirSync(temporary)).not.toContain("state.jsonl");
  await other.simulator.close();
  expect(existsSync(temporary)).toBe(false);
});
