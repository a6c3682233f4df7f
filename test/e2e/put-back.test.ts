import { readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runCommand } from "../helpers/cli-house.ts";
import { type House, readJson, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";

const AUTO = {
  settings: { APPROVAL: "auto", SIGN_WITHIN_MS: "2500" },
  simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } },
};

function requestOf({ dataDir }: House): string | undefined {
  const names = readdirSync(join(dataDir, "status"));
  if (!names.includes("lease.pdf.status.json")) return undefined;
  return (readJson(join(dataDir, "status", "lease.pdf.status.json")) as { request_id?: string }).request_id;
}

test("what came too late is put back and signed, and verify finds nothing wrong with either request", async () => {
  const house = await startHouse(AUTO);
  await house.app.startInbox();
  const inbox = join(house.dataDir, "inbox");
  writeFileSync(join(inbox, "lease.pdf.json"), JSON.stringify({ signer: SIGNER }));
  writeFileSync(join(inbox, "lease.pdf"), await samplePdf());
  await expect.poll(() => requestOf(house), { timeout: 15_000 }).toMatch(/^req-/);
  const first = requestOf(house) ?? "";
  await house.reaches(first, "cleanup", "expired", 30_000);
  const failed = join(house.dataDir, "failed");
  await expect.poll(() => readdirSync(failed), { timeout: 15_000 }).toContain("lease.pdf.json");
  for (const name of ["lease.pdf.json", "lease.pdf"]) renameSync(join(failed, name), join(inbox, name));
  await expect.poll(() => requestOf(house), { timeout: 15_000 }).not.toBe(first);
  const second = requestOf(house) ?? "";
  await house.waits(second, "code");
  await house.call("POST", `/v1/requests/${second}/code`, { secret: await house.codeFor(second) });
  await house.reaches(second, "cleanup", "done");
  await expect.poll(() => readdirSync(join(house.dataDir, "archive")), { timeout: 15_000 }).toEqual([second]);

  const env = { DATA_DIR: house.dataDir, REDIS_PREFIX: house.app.keys.prefix };
  const verified = async () => await runCommand(["verify", "--all", "--json"], { env });
  await expect.poll(async () => (await verified()).exitCode, { timeout: 15_000 }).toBe(0);
  const { requests } = JSON.parse((await verified()).out) as { requests: { id: string; notes: string[] }[] };
  expect(requests.find(({ id }) => id === first)?.notes).toEqual([`its documents were handed in again as ${second}`]);
});
