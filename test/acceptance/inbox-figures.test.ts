import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createMetrics } from "../../src/producers/api/metrics.ts";
import type { InboxConfig } from "../../src/producers/inbox/config.ts";
import { cachedMs } from "../../src/producers/inbox/mounts.ts";
import { MARKER } from "../../src/producers/inbox/presence.ts";
import { makePdf, MANIFEST, SIGNER, startInboxHouse } from "../integration/inbox-house.ts";

/** An inbox called legal. */
function startLegal(config: InboxConfig = {}) {
  const house = startInboxHouse({ config: { reportMs: 2_000, ...config } });
  mkdirSync(house.at("legal"));
  writeFileSync(house.at("legal", MARKER), "");
  house.reopen({ root: { name: "legal", dir: house.at("legal"), defaults: { signer: SIGNER } } });
  return house;
}

/** The figures of an inbox as a scrape has them, by their names. */
async function scrape(house: ReturnType<typeof startLegal>): Promise<Record<string, number>> {
  const told = createMetrics({
    pipeline: { counts: () => Promise.reject(new Error("not asked")) },
    status: () => Promise.resolve({ inboxes: { legal: house.inbox().check() } } as never),
    notifications: { figures: () => Promise.reject(new Error("not asked")) },
    answers: { figures: () => Promise.reject(new Error("not asked")) },
  });
  const lines = (await told.text()).matchAll(/^signpipe_inbox\{root="legal",figure="(\w+)"\} (\S+)$/gm);
  return Object.fromEntries([...lines].map(([, name = "", value]) => [name, Number(value)]));
}

test("W35: what waits, settles, is busy, was claimed, failed, or was there before, and when it was last looked, is in the metrics of each inbox", async () => {
  const house = startLegal();
  await house.pass(1_000, 1);
  expect(await scrape(house)).toMatchObject({ waiting: 0, settling: 0, busy: 0, unusable: 0, oldestMs: 0, claimed: 0 });

  await house.put("legal/inbox", {
    "good.pdf": makePdf("a"),
    "bad.pdf": "not a PDF",
    "alone.pdf.json": MANIFEST,
    "other.txt": "kept",
  });
  await house.pass(0, 0);
  expect(await scrape(house)).toMatchObject({ settling: 4, waiting: 0, claimed: 0 });
  await house.pass(1_000, 3);
  expect(await scrape(house)).toMatchObject({ claimed: 2, failed: 1, duplicates: 0, settling: 0 });
  await house.put("legal/inbox", { "again.pdf": makePdf("a"), "cut.pdf": "%PDF-1.7\n" });
  await house.pass(1_000, 4);
  const after = await scrape(house);
  expect(after).toMatchObject({ claimed: 3, failed: 1, duplicates: 1, unusable: 3, gone: 0, late: 0, taken: 0 });
  expect(after["scanMs"]).toBeGreaterThan(0);
  expect(after["lastScanMs"]).toBe(house.inbox().status().lastScanMs);
  expect(after["sinceScanMs"]).toBe(0);
});

test("W35: a file that could be taken and waits for longer than was set is an alarm, until it is taken", async () => {
  const house = startLegal({ oldestMostMs: 5_000, inFlight: 1 });
  await house.put("legal/inbox", { "1.pdf": makePdf("1") });
  await house.pass(1_000, 4);
  expect(house.inbox().check()).toMatchObject({ ok: true, figures: { late: 0 } });
  await house.put("legal/inbox", { "2.pdf": makePdf("2") });
  await house.pass(1_000, 4);
  expect(house.inbox().check().ok).toBe(true);
  await house.pass(1_000, 4);
  expect(house.inbox().check()).toMatchObject({ ok: false, figures: { late: 1 } });
  expect(house.inbox().check().note).toContain("oldest_most");
  expect((await scrape(house))["oldestMs"]).toBeGreaterThan(5_000);
  house.pipeline.move(house.only().id, { phase: "refused" });
  await house.pass(1_000, 4);
  expect(house.inbox().check()).toMatchObject({ ok: true, figures: { late: 0, oldestMs: 0 } });
});

test("W35: the heartbeat is written with each listing, where it is asked for, and never on the place of a share that is away", async () => {
  const house = startLegal({ heartbeat: true });
  await house.pass(1_000, 1);
  const path = house.at("legal", ".watcher-alive");
  const first = readFileSync(path, "utf8");
  expect(new Date(first.trim()).getTime()).toBeGreaterThan(Date.now() - 60_000);
  await expect
    .poll(async () => {
      await house.pass(1_000, 1);
      return readFileSync(path, "utf8");
    })
    .not.toBe(first);
  rmSync(path);
  rmSync(house.at("legal", MARKER));
  await house.pass(1_000, 1);
  expect(existsSync(path)).toBe(false);
  const other = startLegal();
  await other.pass(1_000, 1);
  expect(existsSync(join(other.dataDir, "legal", ".watcher-alive"))).toBe(false);
});

describe("W31: how long a share may show a file as it was", () => {
  const MOUNTS = [
    "/dev/sda1 / ext4 rw,relatime 0 0",
    "nas:/legal /mnt/legal nfs4 rw,vers=4.2,acregmin=10,acregmax=60,hard 0 0",
    "nas:/plain /mnt/plain nfs rw,vers=3,hard 0 0",
    "nas:/now /mnt/now nfs4 rw,noac 0 0",
    "//nas/scans /mnt/my\\040scans cifs rw,vers=3.1.1,actimeo=20 0 0",
    "//nas/new /mnt/new cifs rw,acregmax=7,acdirmax=60 0 0",
    "//nas/usual /mnt/usual smb3 rw 0 0",
    "/dev/sdb1 /mnt/legal/local ext4 rw 0 0",
    "nas:/over /mnt/twice nfs4 rw,acregmin=5 0 0",
    "nas:/over /mnt/twice nfs4 rw,acregmin=9 0 0",
    "nas:/forever /mnt/forever nfs4 rw,acregmin=3600 0 0",
  ].join("\n");
  test.each([
    ["/mnt/legal/inbox", 10_000],
    ["/mnt/legalese", 0],
    ["/mnt/plain", 3_000],
    ["/mnt/now/inbox", 0],
    ["/mnt/my scans/inbox", 20_000],
    ["/mnt/new", 7_000],
    ["/mnt/usual/x", 1_000],
    ["/mnt/legal/local/inbox", 0],
    ["/mnt/twice", 9_000],
    ["/mnt/forever", 60_000],
    ["/srv/data/inbox", 0],
  ])("of %s it is %i ms", (folder, ms) => {
    expect(cachedMs(folder, MOUNTS)).toBe(ms);
  });
  test("nothing can be said where there are no mounts to be read", () => {
    expect(cachedMs("/mnt/legal", "")).toBe(0);
  });
});
