import { expect, test } from "vitest";
import { isFailure } from "../../src/core/errors.ts";
import { createSpace } from "../../src/files/space.ts";

const MIB = 1 << 20;

function spaceOf({ freeMib = 100, reserveMib = 50, blocks = 1_000, files = 0, ffree = 0 } = {}) {
  const disk = { bsize: MIB, blocks, bavail: freeMib, files, ffree };
  let looks = 0;
  let nowMs = 0;
  const space = createSpace({
    dir: "/",
    reserveBytes: reserveMib * MIB,
    look: async () => {
      looks += 1;
      return disk;
    },
    now: () => nowMs,
  });
  const fits = (mib: number, options?: { mayUseReserve: boolean }) =>
    space.need(mib * MIB, options).then(
      () => true,
      (error: unknown) => {
        if (!isFailure(error, "disk-full")) throw error;
        return false;
      },
    );
  return { space, disk, fits, looks: () => looks, wait: (ms: number) => (nowMs += ms) };
}

test("what is asked for has to fit beyond the reserve", async () => {
  const { fits } = spaceOf({ freeMib: 100, reserveMib: 50 });
  expect([await fits(0), await fits(50), await fits(51)]).toEqual([true, true, false]);
});

test("what is signed already may use half of the reserve", async () => {
  const { fits } = spaceOf({ freeMib: 100, reserveMib: 50 });
  expect([await fits(75, { mayUseReserve: true }), await fits(76, { mayUseReserve: true })]).toEqual([true, false]);
});

test("room that was promised is not promised twice, and comes back with the next look", async () => {
  const { space, fits, wait } = spaceOf({ freeMib: 100, reserveMib: 50 });
  const booking = await space.book(40 * MIB);
  expect(await fits(11)).toBe(false);
  booking.release();
  booking.release();
  expect(await fits(11)).toBe(false); // it may just have been written
  wait(1_001);
  expect(await fits(50)).toBe(true);
});

test("the file system is asked once a second, however many ask", async () => {
  const { fits, looks, wait, disk } = spaceOf();
  await Promise.all(Array.from({ length: 500 }, () => fits(1)));
  expect(looks()).toBe(1);
  disk.bavail = 0;
  expect(await fits(1)).toBe(true);
  wait(1_000);
  expect(await fits(1)).toBe(false);
  expect(looks()).toBe(2);
});

test("a file system that takes no more names is full; one that tells nothing has room", async () => {
  expect(await spaceOf({ files: 100_000, ffree: 500 }).fits(0)).toBe(false);
  expect(await spaceOf({ blocks: 0, freeMib: 0 }).fits(1_000)).toBe(true);
});

test("the refusal says how much is free and how much is kept, and counts as nobody's attempt", async () => {
  const { space } = spaceOf({ freeMib: 20, reserveMib: 50 });
  const refusal: unknown = await space.need(3 * MIB).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ kind: "retryable", code: "disk-full", pause: { until: "room on the disk" } });
  expect(String(refusal)).toContain("20 MiB are free, and 3 MiB are needed beyond the 50 MiB that are kept free");
  expect(await space.check()).toMatchObject({ ok: false, figures: { freeBytes: 20 * MIB, reserveBytes: 50 * MIB } });
});

test("an error of the file system itself is told as one", async () => {
  const look = () => Promise.reject(Object.assign(new Error("i/o error"), { code: "EIO" }));
  const space = createSpace({ dir: "/", reserveBytes: 1, look });
  await expect(space.need(0)).rejects.toMatchObject({ code: "disk-error" });
  expect(await space.check()).toMatchObject({ ok: false });
});
