import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { SettingsChange } from "../../src/simulator/switches.ts";
import { runCommand } from "../helpers/cli-house.ts";
import { type House, readJson, samplePdf, startHouse } from "../helpers/house.ts";
import { classic, CLASSIC_SIGNER, external, jpeg, mp4, png } from "../helpers/identity.ts";
import { forget, mend } from "../helpers/lose.ts";
import { pdfsig } from "../helpers/pdfsig.ts";

const FRONT = { name: "DNI Ana front.jpg", bytes: jpeg() };
const REAR = { name: "DNI Ana rear.png", bytes: png() };
const OWNER = { name: "Ana.jpg", bytes: jpeg() };
const FILM = { name: "Ana.mp4", bytes: mp4(200_000) };

const SIDES = { document_front: FRONT.name, document_rear: REAR.name };
const EVIDENCES = { ...SIDES, document_owner: OWNER.name, video: FILM.name };

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

function submitExternal(house: House): Promise<string> {
  return house.submit(external(EVIDENCES), undefined, [FRONT, REAR, OWNER, FILM]);
}
function submitClassic(house: House, more: object = {}): Promise<string> {
  return house.submit(classic(SIDES, more), undefined, [FRONT, REAR]);
}

/** From the wait for the code to the end; what came of it is what foreign tools take for a signed PDF. */
async function signed(house: House, id: string): Promise<void> {
  await house.waits(id, "code");
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.reaches(id, "cleanup", "done");
  const files = readdirSync(join(house.dataDir, "signed", id)).filter((name) => name.endsWith(".signed.pdf"));
  expect(files.length).toBeGreaterThan(0);
  for (const name of files) {
    const judged = pdfsig(join(house.dataDir, "signed", id, name));
    if (judged !== undefined) expect(judged).toContain("Signature is Valid");
  }
}

/** What is left of the files that show who the signer is, by their bytes, anywhere below DATA_DIR. */
function left(house: House): string[] {
  const known = new Set([FRONT, REAR, OWNER, FILM].map(({ bytes }) => sha256(bytes)));
  return readdirSync(house.dataDir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => known.has(sha256(readFileSync(path))))
    .map((path) => path.slice(house.dataDir.length + 1));
}

const evidenceOf = (house: House, id: string) => readJson(join(house.dataDir, "signed", id, "evidence.json"));

test("a signer whom we identified on film: evidences and film go to the provider, an officer looks at both, and it is signed", async () => {
  const house = await startHouse();
  const id = await submitExternal(house);
  await house.waits(id, "approval");
  expect([house.effects("evidences"), house.effects("video")]).toEqual([1, 1]);
  expect(house.simulator.ledger.find(({ effect }) => effect === "video")?.sha256).toBe(sha256(FILM.bytes));

  const film = await house.download(`/v1/requests/${id}/video`);
  expect(film).toMatchObject({ status: 200, type: "video/mp4" });
  expect(film.bytes.equals(FILM.bytes)).toBe(true);
  const front = await house.download(`/v1/requests/${id}/enclosures/document_front`);
  expect(front).toMatchObject({ status: 200, type: "image/jpeg" });
  expect(front.bytes.equals(FRONT.bytes)).toBe(true);
  expect((await house.call("GET", `/v1/requests/${id}`)).body["enclosures"]).toMatchObject([
    { name: "document_front" },
    { name: "document_rear" },
    { name: "document_owner" },
    { name: "video", content_type: "video/mp4" },
  ]);

  await house.call("POST", `/v1/requests/${id}/approve`);
  await signed(house, id);
  expect(left(house)).toEqual([]);
  expect((await house.call("GET", `/v1/requests/${id}/enclosures/video`)).body).toMatchObject({
    code: "no-such-enclosure",
  });
  expect(evidenceOf(house, id)).toMatchObject({
    workflow: "videoid-external",
    enclosures: [
      { name: "document_front", content_type: "image/jpeg", sha256: sha256(FRONT.bytes) },
      { name: "document_rear", content_type: "image/png", sha256: sha256(REAR.bytes) },
      { name: "document_owner", content_type: "image/jpeg", sha256: sha256(OWNER.bytes) },
      { name: "video", content_type: "video/mp4", sha256: sha256(FILM.bytes), size_bytes: FILM.bytes.length },
    ],
  });
});

test("a signer whom we identified face to face: the officer decides first, and the provider registers and approves at once", async () => {
  const house = await startHouse();
  const id = await submitClassic(house);
  await house.waits(id, "approval");
  expect(house.effects("create")).toBe(0);
  const rear = await house.download(`/v1/requests/${id}/enclosures/document_rear`);
  expect(rear.bytes.equals(REAR.bytes)).toBe(true);
  expect((await house.call("GET", `/v1/requests/${id}/video`)).body).toMatchObject({ code: "no-video" });

  await house.call("POST", `/v1/requests/${id}/approve`);
  await signed(house, id);
  expect(house.effects("create")).toBe(1);
  expect(left(house)).toEqual([]);
  expect(evidenceOf(house, id)).toMatchObject({
    workflow: "classic",
    approval: { by: `api:${house.keyRing.apiKeys[0]?.name ?? ""}` },
    enclosures: [{ name: "document_front" }, { name: "document_rear" }],
  });
});

test("a classic request that the officer refuses never comes to the provider, and its pictures are erased", async () => {
  const house = await startHouse();
  const id = await submitClassic(house);
  await house.waits(id, "approval");
  await house.call("POST", `/v1/requests/${id}/refuse`, { reason: "The picture shows somebody else." });
  await house.reaches(id, "cleanup", "refused");
  expect(house.effects("create")).toBe(0);
  expect(left(house)).toEqual([]);
});

test("an external request that is cancelled leaves no picture and no film behind", async () => {
  const house = await startHouse();
  const id = await submitExternal(house);
  await house.waits(id, "approval");
  expect(left(house)).toHaveLength(4);
  await house.call("POST", `/v1/requests/${id}/cancel`);
  await house.reaches(id, "cleanup", "cancelled");
  expect(left(house)).toEqual([]);
});

test("evidences without the film wait for the identification, and the wait says what was not handed in", async () => {
  const house = await startHouse();
  const { video: _video, ...files } = EVIDENCES;
  const id = await house.submit(external(files), undefined, [FRONT, REAR, OWNER]);
  await house.waits(id, "identification");
  await expect
    .poll(async () => (await house.app.store.get(id)).waiting)
    .toMatchObject({ whose: "provider", detail: "VIDEOINCOMPLETE; not handed in: document_photo, video" });
  expect([house.effects("evidences"), house.effects("video")]).toEqual([1, 0]);
  expect((await house.call("GET", `/v1/requests/${id}/video`)).body).toMatchObject({ status: 404, code: "no-video" });
});

test("an identification that the provider rejects fails with its code, and a retry sends the same files in a new one", async () => {
  const house = await startHouse({ simulator: { externalOutcome: "error" } });
  const id = await submitExternal(house);
  await house.reaches(id, "cleanup", "failed");
  expect((await house.app.store.get(id)).failure).toMatchObject({ code: "videoid-error", stage: "identify" });
  expect(left(house)).toHaveLength(4);
  house.simulator.set({ externalOutcome: "by-content" } satisfies SettingsChange);
  await house.call("POST", `/v1/requests/${id}/retry`);
  await house.waits(id, "approval");
  expect([house.effects("create"), house.effects("evidences"), house.effects("video")]).toEqual([2, 2, 1]);
});

test("a check that did not hold fails the identification, whatever was sent beside it", async () => {
  const house = await startHouse();
  const manifest = external(EVIDENCES);
  const identity = { ...manifest.identity, security_checks: { liveliness: false } };
  const id = await house.submit({ ...manifest, identity }, undefined, [FRONT, REAR, OWNER, FILM]);
  await house.reaches(id, "cleanup", "failed");
  expect((await house.app.store.get(id)).failure?.code).toBe("videoid-error");
});

test("a request that Redis has lost comes back from the journal with its files, and is signed", async () => {
  const house = await startHouse({ settings: { APPROVAL: "manual" } });
  const id = await submitClassic(house);
  await house.waits(id, "approval");
  const { enclosures } = (await house.app.store.get(id)).facts;
  expect(enclosures).toHaveLength(2);
  await forget(house, id, 0);
  expect(await mend(house)).toBe(1);
  expect((await house.app.store.get(id)).facts["enclosures"]).toEqual(enclosures);
  await house.waits(id, "approval");
  await house.call("POST", `/v1/requests/${id}/approve`);
  await signed(house, id);
});

test.each([
  ["classic", classic(SIDES, { reference: "case-1" }), [FRONT, REAR]],
  ["videoid-external", external(EVIDENCES, { reference: "case-1" }), [FRONT, REAR, OWNER, FILM]],
] as const)(
  "through the command line, a %s request takes its files from beside the manifest, and gives them to the officer",
  async (workflow, manifest, files) => {
    const house = await startHouse();
    const dir = await mkdtemp(join(tmpdir(), "signpipe-case-"));
    onTestFinished(() => rm(dir, { recursive: true, force: true }));
    for (const { name, bytes } of files) writeFileSync(join(dir, name), bytes);
    writeFileSync(join(dir, "letter.pdf"), await samplePdf());
    writeFileSync(join(dir, "request.json"), JSON.stringify(manifest));
    const env = { DATA_DIR: house.dataDir, API_URL: house.api, API_KEY: house.keyRing.apiKeys[0]?.secret ?? "" };
    const submitted = await runCommand(["submit", join(dir, "letter.pdf"), "-m", join(dir, "request.json")], { env });
    expect(submitted).toMatchObject({ exitCode: 0 });
    const id = submitted.out.trim();
    await house.waits(id, "approval");
    expect((await house.app.store.get(id)).workflow).toBe(workflow);

    const to = join(dir, "seen.jpg");
    expect(await runCommand(["enclosure", "case-1", "document_front", "-o", to], { env })).toMatchObject({
      exitCode: 0,
    });
    expect(readFileSync(to).equals(FRONT.bytes)).toBe(true);
    const film = await runCommand(["video", "case-1", "-o", join(dir, "seen.mp4")], { env });
    if (workflow === "classic") expect(film).toMatchObject({ exitCode: 1 });
    else expect(readFileSync(join(dir, "seen.mp4")).equals(FILM.bytes)).toBe(true);

    expect(await runCommand(["approve", "case-1"], { env })).toMatchObject({ exitCode: 0 });
    await signed(house, id);
    expect(house.logged()).not.toContain("Ana");
    expect(existsSync(join(house.dataDir, ".work", id, "enclosure-1"))).toBe(false);
  },
);

test("the signer's own data is sent as it was handed in", async () => {
  const house = await startHouse({ settings: { APPROVAL: "auto" } });
  const id = await submitClassic(house);
  await signed(house, id);
  expect(evidenceOf(house, id)).toMatchObject({ signer: CLASSIC_SIGNER });
});
