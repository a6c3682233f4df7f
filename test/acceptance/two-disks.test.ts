import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { samplePdf, SIGNER, startHouse } from "../helpers/house.ts";
import { digestsOf, KINDS, makeGround, namesOf, PATIENCE, sha256, startInboxProcess, startPlace } from "./place.ts";

const MEMORY = "/dev/shm";
const hasTwoDisks = existsSync(MEMORY) && statSync(MEMORY).dev !== statSync(tmpdir()).dev;
if (!hasTwoDisks) process.stderr.write(`Tests with two disks are skipped: ${MEMORY} is no disk of its own here.\n`);
const testOnTwo = test.skipIf(!hasTwoDisks);

/** A folder on the other disk. */
function otherDisk(): string {
  const dir = mkdtempSync(join(MEMORY, "signpipe-other-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

testOnTwo("W11: the inbox in DATA_DIR does not start where a folder is on another disk, and names both", async () => {
  const other = otherDisk();
  const ground = makeGround(KINDS[0]);
  const house = await startHouse({ settings: ground.settings, dataDir: ground.dataDir, work: false, keep: false });
  rmSync(ground.at("archive"), { recursive: true });
  symlinkSync(other, ground.at("archive"));
  ground.drop("x.pdf", await samplePdf());
  const inbox = await startInboxProcess(house);
  expect(await inbox.ended).toBe(1);
  expect(inbox.err()).toMatch(/DATA_DIR\/inbox and DATA_DIR\/archive are on different file systems/);
  expect(ground.names("inbox")).toEqual(["x.pdf"]);
});

testOnTwo(
  "W11, W33: an inbox of INBOXES_FILE with a folder on another disk is not served, and says which",
  async () => {
    const other = otherDisk();
    const place = await startPlace(KINDS[1], { before: ({ at }) => symlinkSync(other, at("failed")) });
    place.drop("x.pdf", await samplePdf());
    await expect.poll(() => place.check(), PATIENCE).toMatchObject({ ok: false });
    expect(place.check().note).toMatch(/cannot be renamed into its folder failed: put all of its folders on one disk/);
    expect(place.names("inbox")).toEqual(["x.pdf"]);
    expect(readdirSync(other)).toEqual([]);
    // Mended while it runs, it is served.
    rmSync(place.at("failed"));
    expect(namesOf(await place.only())).toEqual(["x.pdf"]);
  },
);

testOnTwo("W11: a share on another disk than DATA_DIR is no matter: what is signed comes back to it", async () => {
  const place = await startPlace(KINDS[1], {
    shareBelow: otherDisk(),
    settings: { APPROVAL: "auto" },
    standing: { signer: SIGNER, authentication: { method: "external", type: "bank", value: "1" } },
    simulator: { humans: { signer: "auto", signerDelayMs: 0 } },
    work: true,
  });
  const bytes = await samplePdf();
  place.drop("x.pdf", bytes);
  const request = await place.only();
  expect(digestsOf(request)).toEqual([sha256(bytes)]);
  await expect.poll(() => place.status("x.pdf")["state"], PATIENCE).toBe("done");
  expect(place.names(`signed/${request.id}`)).toContain("x.pdf.signed.pdf");
  // The original is moved after the status has told of it.
  await expect.poll(() => place.names("archive"), PATIENCE).toEqual([request.id]);
  await expect.poll(() => place.names(`archive/${request.id}`), PATIENCE).toEqual(["x.pdf"]);
});
