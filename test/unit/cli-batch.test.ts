import { expect, test } from "vitest";
import { runBatch } from "../../src/cli/batch.ts";
import type { Client } from "../../src/cli/client.ts";
import type { Terminal } from "../../src/cli/terminal.ts";

const BATCH = {
  ...{ id: "bat-0k3v0000000000000000000000", name: "leases of May", state: "running", priority: 5 },
  ...{ rows: 10_000, over: 5_220, waiting_for_people: 50, estimated_finish_at: "2026-11-27T02:00:00.000Z" },
  counts: { failed: 20, done: 4980, pending: 4650, waiting: 50, rejected: 180, duplicate: 40, queued: 80 },
  stands: {
    code: "billing-rejected",
    message:
      "Creations of acme stand still: the provider rejected the billing account. Have it topped up and run: signpipe resume",
  },
};

/** What `signpipe batch show` prints of a batch on a terminal of this width. */
async function shown(batch: object, width?: number): Promise<string[]> {
  const lines: string[] = [];
  const out = { width, line: (line: string) => void lines.push(line) };
  const api = { batches: { get: () => Promise.resolve({ ...BATCH, ...batch }) } } as unknown as Client;
  await runBatch(api, { out, err: out } as unknown as Terminal, { act: "show", what: BATCH.id }, {});
  return lines;
}

test("progress of a batch fits a terminal: no line is broken by it, and a number stays with what it counts", async () => {
  const lines = await shown({}, 80);
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
  expect(lines.slice(0, 5)).toEqual([
    "bat-0k3v0000000000000000000000  leases of May",
    "State      running, priority 5",
    "Progress   [###########---------] 52 %, 5220 of 10000 rows are over",
    "Rows       4650 pending, 180 rejected, 40 duplicate, 80 queued, 50 waiting,",
    "           4980 done, 20 failed",
  ]);
  expect(lines.join(" ").replaceAll(/\s+/g, " ")).toContain(
    "signpipe resume (billing-rejected); then it goes on by itself",
  );
});

test("what is no terminal gets each thing in a line", async () => {
  expect(await shown({})).toHaveLength(7);
});

test.each([
  [0, 10_000, "[--------------------] 0 %"],
  [1, 10_000, "[#-------------------] 0 %"],
  [9_999, 10_000, "[###################-] 99 %"],
  [10_000, 10_000, "[####################] 100 %"],
])("%i of %i: the bar is full only when all is over, and empty only when nothing is", async (over, rows, bar) => {
  expect((await shown({ over, rows })).join("\n")).toContain(`${bar}, ${over} of ${rows} rows are over`);
});
