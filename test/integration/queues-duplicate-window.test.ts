import { expect, test } from "vitest";
import { newId, startToy, submission, toyStage } from "../helpers/toy.ts";

/** What an inbox hands in: the same document each time, under a new id. */
function dropped(more: object = {}) {
  const id = newId();
  const document = (n: number) => ({
    id: `${id}/${n}.pdf`,
    name: `${n}.pdf`,
    sizeBytes: 10,
    sha256: `${n}`.repeat(64),
  });
  const given = { ...submission(id), source: "inbox" as const, by: "inbox", documents: [document(1)] };
  return { ...given, rest: [[document(2)]], refuseDuplicate: true, ...more };
}

const patience = { timeout: 15_000, interval: 50 };

test("W17: a document counts as handed in before for as long as its inbox says; those of others for 90 days", async () => {
  const toy = await startToy([toyStage("create"), toyStage("cleanup")]);
  const windowMs = 1_500;
  const first = dropped({ duplicatesMs: windowMs });
  expect((await toy.pipeline.submit(first)).outcome).toBe("accepted");
  expect((await toy.pipeline.submit(dropped())).outcome).toBe("duplicate");
  // One of the second request of a group as well; whoever comes next counts for as long as everybody else.
  const second = { ...dropped(), documents: dropped().rest.flat(), rest: undefined };
  await expect.poll(async () => (await toy.pipeline.submit(second)).outcome, patience).not.toBe("duplicate");
  const lives = await Promise.all((await toy.redis.keys(`${toy.keys.seen("")}*`)).map((key) => toy.redis.pttl(key)));
  expect(Math.max(...lives)).toBeGreaterThan(80 * 86_400_000);
});

test("W17: of two that come at once one is accepted, also where each is to count for another time", async () => {
  const toy = await startToy([toyStage("create"), toyStage("cleanup")]);
  for (let round = 1; round <= 5; round++) {
    const sha256 = String(round).padStart(64, "0");
    const lives = [3_600_000, 400 * 86_400_000, undefined, 3_600_000];
    const all = await Promise.all(
      lives.map((duplicatesMs) => {
        const one = dropped({ duplicatesMs, rest: undefined });
        return toy.pipeline.submit({ ...one, documents: one.documents.map((document) => ({ ...document, sha256 })) });
      }),
    );
    expect(all.filter(({ outcome }) => outcome === "accepted")).toHaveLength(1);
    expect(all.filter(({ outcome }) => outcome === "duplicate")).toHaveLength(3);
  }
});
