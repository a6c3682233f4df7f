import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { checkInboxes } from "../../src/cli/doctor-inboxes.ts";
import { readSettings } from "../../src/config.ts";
import { MARKER } from "../../src/producers/inbox/presence.ts";
import { readTenants } from "../../src/tenants.ts";

const FOLDERS = ["inbox", ".work", "failed", "duplicates", "archive", "status", "signed"];

/** An inbox called legal, and what doctor says of it. */
function makeInbox(more: object = {}, env: Record<string, string> = {}) {
  const top = mkdtempSync(join(tmpdir(), "signpipe-doctor-"));
  onTestFinished(() => rmSync(top, { recursive: true, force: true }));
  const at = (...names: string[]) => join(top, "legal", ...names);
  writeFileSync(join(top, "inboxes.json"), JSON.stringify([{ name: "legal", path: "legal", ...more }]));
  const given = {
    DATA_DIR: join(top, "data"),
    INBOXES_FILE: join(top, "inboxes.json"),
    DISK_RESERVE_BYTES: "1",
    ...env,
  };
  const settings = readSettings(given, { envFile: join(top, "none") });
  return {
    top,
    at,
    make() {
      mkdirSync(at());
      writeFileSync(at(MARKER), "");
      for (const name of FOLDERS) mkdirSync(at(name));
    },
    look: () => checkInboxes(settings, readTenants(settings)),
  };
}

test("of an inbox that is well doctor says where it is and how it is watched, and leaves nothing there", async () => {
  const { at, make, look } = makeInbox({ watch: "poll" });
  make();
  expect(await look()).toMatchObject([
    { check: "Inbox legal", level: "ok", says: expect.stringContaining("poll") as string },
  ]);
  for (const name of FOLDERS) expect(readdirSync(at(name))).toEqual([]);
});

test("of one that is not there, and of one without its marker, it says what to do, and makes nothing", async () => {
  const { top, at, look } = makeInbox();
  expect(await look()).toMatchObject([{ level: "fail", says: expect.stringContaining("mount it again") as string }]);
  mkdirSync(at());
  const [found] = await look();
  expect(found).toMatchObject({ level: "fail", todo: expect.stringContaining("signpipe inbox init legal") as string });
  expect(readdirSync(at())).toEqual([]);
  writeFileSync(at(MARKER), "");
  expect(await look()).toMatchObject([
    { level: "ok" },
    { level: "warn", says: expect.stringContaining("not there") as string },
  ]);
  expect(readdirSync(at())).toEqual([MARKER]);
  expect(readdirSync(top).sort()).toEqual(["inboxes.json", "legal"]);
});

test("folders on two disks, and a disk without room, are to be mended", async () => {
  const { at, make, look } = makeInbox({}, { DISK_RESERVE_BYTES: String(2 ** 52) });
  make();
  const elsewhere = mkdtempSync("/dev/shm/signpipe-doctor-");
  onTestFinished(() => rmSync(elsewhere, { recursive: true, force: true }));
  rmSync(at("failed"), { recursive: true });
  symlinkSync(elsewhere, at("failed"));
  const found = await look();
  expect(found.map(({ level }) => level)).toEqual(["fail", "fail"]);
  expect(found[0]?.says).toContain('or set "mode": "copy"');
  expect(found[1]?.says).toContain("on its disk");
});

test("a source that cannot be read is to be mounted", async () => {
  const { top, make, look } = makeInbox({ mode: "copy", source: "scans" });
  make();
  expect(await look()).toMatchObject([{ level: "fail", says: expect.stringContaining("ENOENT") as string }]);
  mkdirSync(join(top, "scans"));
  expect(await look()).toMatchObject([{ level: "ok", says: expect.stringContaining("copies from") as string }]);
});
