import { expect, test } from "vitest";
import { isFailure } from "../../src/core/errors.ts";
import { toMultipart } from "../../src/provider/multipart.ts";
import { createLeases } from "../../src/queues/lease.ts";
import { upload } from "../../src/workers/upload.ts";

test("a process that goes on after it stood still does not send the rest of a document", async () => {
  const clock = { ms: 0 };
  const leases = createLeases({ lockMs: 15_000, monotonic: () => clock.ms, wall: () => 0 });
  const lease = leases.take("job");
  let multipart = toMultipart([]);
  const run = {
    request: {},
    facts: { requestPk: 1, documents: [{ id: "a", name: "a.pdf", sizeBytes: 8, sha256: "" }] },
    documents: { open: () => [Buffer.from("%PDF"), Buffer.from("-1.7")] },
    provider: {
      upload: (_pk: number, files: Parameters<typeof toMultipart>[0]) => void (multipart = toMultipart(files)),
    },
    effect: (_name: string, call: () => unknown) => Promise.resolve([call()]),
    isOurs: () => !lease.isOver(),
  };
  await upload.run(run as never).catch(() => {});
  const { body } = multipart;
  expect((await body.next()).value?.toString()).toContain("Content-Disposition");
  expect((await body.next()).value?.toString()).toBe("%PDF");
  clock.ms = 15_000; // frozen for so long
  await expect(body.next()).rejects.toSatisfy((error) => isFailure(error, "lost-lease"));
  expect(multipart.failure()).toMatchObject({ code: "lost-lease", effect: "unknown" });
});

test("a lease goes on with each renewal, and is over when the lock is lost, taken anew or slept through", () => {
  const clock = { monotonic: 0, wall: 0 };
  const leases = createLeases({ lockMs: 10, monotonic: () => clock.monotonic, wall: () => clock.wall });
  const first = leases.take("job");
  clock.monotonic = 9;
  leases.renewed(["job", "another"]);
  clock.monotonic = 18;
  expect(first.isOver()).toBe(false);
  clock.wall = 60; // the machine slept: the monotonic clock stood still
  expect(first.isOver()).toBe(true);
  const second = leases.take("job");
  first.end();
  expect(second.isOver()).toBe(false);
  leases.take("job");
  expect(second.isOver()).toBe(true);
  const other = leases.take("other");
  leases.lost(["other"]);
  expect(other.isOver()).toBe(true);
});
