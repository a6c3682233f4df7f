import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { describe, expect, onTestFinished, test } from "vitest";
import { samplePdf } from "../helpers/house.ts";
import { until } from "../helpers/signpipe-process.ts";
import { mountSmallDisk, whyNoSmallDisk } from "../helpers/small-disk.ts";
import { KINDS, namesOf, type Place, startPlace } from "./place.ts";

if (whyNoSmallDisk) process.stderr.write(`The test of a mount that is lost is skipped: ${whyNoSmallDisk}.\n`);

/** Away, it is an alarm, nothing is made in its place, and nothing counts as gone; back, it is served as before. */
async function expectPause(place: Place, { lose, find }: { lose: () => void; find: () => void }): Promise<void> {
  writeFileSync(place.at("inbox", "before.pdf"), await samplePdf());
  const first = await place.only();
  await place.taken("before.pdf");
  lose();
  await until("that it is told", () => !place.check().ok || undefined);
  expect((await place.requests()).map(({ id, phase }) => [id, phase])).toEqual([[first.id, "queued"]]);
  find();
  await until("that all is well", () => place.check().ok || undefined);
  writeFileSync(place.at("inbox", "after.pdf"), await samplePdf());
  expect((await place.count(2)).flatMap(namesOf).sort()).toEqual(["after.pdf", "before.pdf"]);
  expect(place.status("before.pdf")).toMatchObject({ request_id: first.id, state: "queued" });
  expect(place.names("failed")).toEqual([]);
}

describe.each(KINDS)("%s", (kind) => {
  test("W32: a folder that is taken away is an alarm, is not made anew, and is served again when it is back", async () => {
    const place = await startPlace(kind);
    const root = place.isNamed ? place.dir : place.at("inbox");
    await expectPause(place, {
      lose: () => renameSync(root, `${root}-away`),
      find() {
        expect(existsSync(root)).toBe(false);
        renameSync(`${root}-away`, root);
      },
    });
  });
});

test.skipIf(whyNoSmallDisk !== undefined)(
  "W32: a share whose mount is lost leaves an empty folder, which is not written to, and is served when it is mounted again",
  async () => {
    const disk = mountSmallDisk(16);
    const mount = (dir: string) => execFileSync("mount", ["--bind", disk.dir, dir]);
    const place = await startPlace(KINDS[1], {
      before({ dir, at }) {
        // What lies there is what is under the mount, so it has no marker and no folders.
        execFileSync("cp", ["-a", `${dir}/.`, disk.dir]);
        execFileSync("rm", ["-r", at(".signing-root"), at("inbox")]);
        mount(dir);
        onTestFinished(() => void execFileSync("umount", ["-l", dir]));
      },
    });
    await expectPause(place, {
      lose: () => void execFileSync("umount", ["-l", place.dir]),
      find() {
        expect(readdirSync(place.dir)).toEqual([]);
        mount(place.dir);
      },
    });
  },
);
