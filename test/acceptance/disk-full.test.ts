import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { samplePdf } from "../helpers/house.ts";
import { until } from "../helpers/signpipe-process.ts";
import { mountSmallDisk, whyNoSmallDisk } from "../helpers/small-disk.ts";
import { KINDS, namesOf, startPlace } from "./place.ts";

if (whyNoSmallDisk) process.stderr.write(`Tests of a full disk are skipped: ${whyNoSmallDisk}.\n`);
const testOnDisk = test.skipIf(whyNoSmallDisk !== undefined);

testOnDisk.each([
  [KINDS[0], "the disk of DATA_DIR", true, true],
  [KINDS[1], "the disk of DATA_DIR, and not that of the share,", true, false],
  [KINDS[1], "the disk of the share, and not that of DATA_DIR,", false, true],
] as const)(
  "W23: %s: while %s is full files stay, nothing is failed, and all go on by themselves when there is room",
  async (kind, _which, isDataOn, isShareOn) => {
    const disk = mountSmallDisk(48);
    const place = await startPlace(kind, {
      below: isDataOn ? disk.dir : tmpdir(),
      shareBelow: isShareOn ? disk.dir : tmpdir(),
      settings: { DISK_RESERVE_BYTES: "0" },
    });
    const names = Array.from({ length: 8 }, (_, n) => `${n}.pdf`);
    const outside = `${place.dir}-outside`;
    mkdirSync(outside);
    // Written while there is room: brought in by renaming they need none.
    for (const name of names) writeFileSync(join(outside, name), await samplePdf());
    disk.fill();
    for (const name of names) renameSync(join(outside, name), place.at("inbox", name));
    await until("that it is told", () => !place.check().ok || undefined);
    expect(place.check().note).toContain("paused");
    await place.watched();
    expect(place.names("failed")).toEqual([]);
    expect(place.names("duplicates")).toEqual([]);
    disk.free();
    const requests = await place.count(names.length, 60_000);
    expect(requests.flatMap(namesOf).sort()).toEqual(names);
    await until("that all is well", () => place.check().ok || undefined);
    expect(place.names("inbox")).toEqual([]);
    expect(place.names("failed")).toEqual([]);
  },
);
