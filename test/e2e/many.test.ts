import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { memberIds } from "../../src/core/group.ts";
import { type House, readJson, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";
import { pdfsig } from "../helpers/pdfsig.ts";

const CLASSIC = new URL("../../examples/classic/", import.meta.url).pathname;
const NAMES = Array.from({ length: 23 }, (_, i) => `deed ${i + 1}.pdf`);

interface Status {
  request_id?: string;
  state?: string;
  signed?: string[];
  now_at?: string;
  requests?: { request_id: string; state: string; documents: string[] }[];
}

/** Drops a folder of 23 PDFs whose signer was identified elsewhere. The ids of its requests. */
async function drop(house: House): Promise<string[]> {
  const folder = join(house.dataDir, "making");
  mkdirSync(folder);
  for (const name of NAMES) writeFileSync(join(folder, name), await samplePdf());
  for (const name of ["front.jpg", "rear.png"]) cpSync(join(CLASSIC, name), join(folder, name));
  const { signer, ...manifest } = readJson(join(CLASSIC, "request.json"));
  writeFileSync(
    join(folder, "request.json"),
    JSON.stringify({ ...manifest, signer: { ...(signer as object), ...SIGNER } }),
  );
  renameSync(folder, join(house.dataDir, "inbox", "estate"));
  await expect.poll(() => statusOf(house).request_id, { timeout: 15_000 }).toMatch(/^req-/);
  return memberIds({ id: statusOf(house).request_id ?? "", of: 3 });
}

function statusOf({ dataDir }: House): Status {
  const path = join(dataDir, "status", "estate.status.json");
  return existsSync(path) ? readJson(path) : {};
}

async function sign(house: House, id: string): Promise<void> {
  await house.waits(id, "approval");
  expect((await house.call("POST", `/v1/requests/${id}/approve`)).status).toBe(202);
  await house.waits(id, "code");
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.reaches(id, "cleanup", "done");
}

/** All signed PDFs of a folder, each of which a foreign program finds validly signed. */
function verified(folder: string): string[] {
  const names = readdirSync(folder).filter((name) => name.endsWith(".signed.pdf"));
  for (const name of names) {
    expect(pdfsig(join(folder, name)) ?? "Signature is Valid").toContain("Signature is Valid");
  }
  return names.sort();
}

const SIGNED = NAMES.map((name) => `${name}.signed.pdf`).sort();

function filesLeft({ dataDir }: House): string[] {
  return readdirSync(join(dataDir, ".work"), { recursive: true, encoding: "utf8" }).filter((name) =>
    /^req-/.test(name),
  );
}

test("a folder of 23 PDFs comes back as one folder of signed ones, from three requests", async () => {
  const house = await startHouse();
  await house.app.startInbox();
  const ids = await drop(house);
  for (const id of ids) await sign(house, id);
  await expect.poll(() => statusOf(house).state, { timeout: 15_000 }).toBe("done");
  const [id = ""] = ids;
  expect(verified(join(house.dataDir, "signed", id))).toEqual(SIGNED);
  const { requests = [], signed = [], now_at } = statusOf(house);
  expect(requests.map(({ documents }) => documents.length)).toEqual([8, 8, 7]);
  expect(requests.flatMap(({ documents }) => documents)).toEqual(NAMES);
  for (const path of signed) expect(existsSync(join(house.dataDir, path))).toBe(true);
  expect(now_at).toBe(`archive/${id}`);
  await expect.poll(() => filesLeft(house), { timeout: 10_000 }).toEqual([]);
  expect(readdirSync(join(house.dataDir, "archive", id)).sort()).toEqual([...NAMES].sort());
  expect(["create", "approve", "sign", "upload"].map(house.effects)).toEqual([3, 3, 3, 23]);
}, 120_000);

test("of a folder of 23 PDFs that was put back after a refusal, only those of the refused request are signed", async () => {
  const house = await startHouse();
  await house.app.startInbox();
  const [first = "", second = "", third = ""] = await drop(house);
  await sign(house, first);
  await house.waits(second, "approval");
  await house.call("POST", `/v1/requests/${second}/refuse`, { reason: "the picture is blurred" });
  await sign(house, third);
  await expect.poll(() => statusOf(house).now_at, { timeout: 15_000 }).toBe("failed/estate");
  const back = readdirSync(join(house.dataDir, "failed", "estate")).sort();
  expect(back).toEqual([...NAMES, "front.jpg", "rear.png", "request.json"].sort());
  expect(filesLeft(house)).toEqual([]);

  renameSync(join(house.dataDir, "failed", "estate"), join(house.dataDir, "inbox", "estate"));
  await expect.poll(() => statusOf(house).request_id, { timeout: 15_000 }).not.toBe(first);
  const { request_id: again = "" } = statusOf(house);
  await sign(house, again);
  await expect.poll(() => statusOf(house).state, { timeout: 15_000 }).toBe("done");
  expect(verified(join(house.dataDir, "signed", again))).toEqual(SIGNED);
  // The files are moved after the status has told of it.
  await expect.poll(() => filesLeft(house), { timeout: 10_000 }).toEqual([]);
  expect(readdirSync(join(house.dataDir, "archive", again)).sort()).toEqual([...NAMES].sort());
  expect(readdirSync(join(house.dataDir, "failed"))).toEqual([]);
  // Each document once: with this workflow, the one that was refused has never been at the provider.
  expect(["create", "sign", "upload"].map(house.effects)).toEqual([3, 3, 23]);
}, 120_000);
