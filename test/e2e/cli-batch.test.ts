import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { BY_ITSELF, classicBatch, toTable } from "../helpers/batches.ts";
import { runCommand } from "../helpers/cli-house.ts";
import { startHouse } from "../helpers/house.ts";

test("the command line: a folder is checked, handed in, followed and its results are saved", async () => {
  const house = await startHouse({ settings: BY_ITSELF });
  const folder = mkdtempSync(join(tmpdir(), "signpipe-batch-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const { columns, rows, files } = await classicBatch(3);
  const bad = rows[1] ?? [];
  bad[3] = "34699000001";
  for (const { name, bytes } of files) writeFileSync(join(folder, name), bytes);
  writeFileSync(join(folder, "private.pdf"), "not named by any row");
  writeFileSync(join(folder, "batch.csv"), toTable(columns, rows, ";"));
  const secret = house.keyRing.apiKeys[0]?.secret ?? "";
  const env = { API_URL: house.api, API_KEY: secret, DATA_DIR: house.dataDir };
  const run = (...args: string[]) => runCommand(["batch", ...args], { env });

  const dry = await run("submit", folder, "--dry-run");
  expect([dry.exitCode, dry.out]).toEqual([
    2,
    expect.stringContaining("2 of 3 rows could be submitted; 1 cannot be used"),
  ]);
  expect(dry.out).toContain("row 3, mobile_phone_number has no + and no country in front");
  expect(dry.out).not.toContain("private.pdf");
  expect((await run("list")).err).toContain("There are no batches yet.");

  const submitted = await run("submit", folder, "--name", "leases", "--priority", "7");
  expect([submitted.exitCode, submitted.out.trim()]).toEqual([2, expect.stringMatching(/^bat-\w{26}$/)]);
  const id = submitted.out.trim();
  await expect
    .poll(async () => (await run("show", id.slice(0, 12))).out, { timeout: 40_000, interval: 500 })
    .toContain("State      done, priority 7");
  expect((await run("list")).out).toContain("leases");
  const to = join(folder, "results.csv");
  await run("results", id, "--output", to);
  const lines = readFileSync(to, "utf8").trim().split("\r\n");
  expect(lines.map((line) => line.split(",")[3])).toEqual(["state", "done", "rejected", "done"]);
  expect((await run("results", id)).out).toBe(readFileSync(to, "utf8"));

  const again = await run("cancel", id);
  expect([again.exitCode, again.err]).toEqual([1, expect.stringContaining("it cannot be cancelled now")]);
  expect((await run("fly", id)).err).toContain('There is no "batch fly"');
  expect((await run("show")).err).toContain("Which batch?");
});
