import { mkdirSync, readdirSync, utimesSync } from "node:fs";
import { expect, test } from "vitest";
import { createPurge } from "../../src/producers/inbox/purge.ts";
import { makePdf, MANIFEST, startInboxHouse } from "../integration/inbox-house.ts";

test("W10: where NAME.done says that NAME is complete, nothing is taken without it, and it goes with its file", async () => {
  const house = startInboxHouse({ config: { protocol: "done-file", reportMs: 2_000 } });
  await house.take({ "x.pdf": makePdf("x"), "x.pdf.json": MANIFEST });
  expect(house.pipeline.submissions).toHaveLength(0);
  expect((await house.status("x.pdf"))["failure"]).toMatchObject({ code: "not-announced" });
  await house.take({ "x.pdf.done": "" });
  expect(house.only().documents[0]?.name).toBe("x.pdf");
  expect(readdirSync(house.at("inbox"))).toEqual([]);
});

test("W10: where files are renamed in, they are taken at the second look", async () => {
  const house = startInboxHouse({ config: { protocol: "rename-in", settleMs: 0 } });
  await house.drop({ "x.pdf": makePdf("x"), "x.pdf.json": MANIFEST, "y.pdf.part": makePdf("y") });
  await house.pass(1, 2);
  expect(house.only().documents[0]?.name).toBe("x.pdf");
  expect(readdirSync(house.at("inbox"))).toEqual(["y.pdf.part"]);
});

test("W10: where only a manifest counts, a PDF waits for its own, whatever defaults.json says", async () => {
  const house = startInboxHouse({ config: { protocol: "manifest" } });
  await house.take({ "x.pdf": makePdf("x"), "defaults.json": MANIFEST });
  expect(house.pipeline.submissions).toHaveLength(0);
  await house.take({ "x.pdf.json": MANIFEST });
  expect(house.pipeline.submissions).toHaveLength(1);
});

test("W30: what a pattern of the inbox hits is left where it is", async () => {
  const house = startInboxHouse({ config: { ignore: ["draft*"] } });
  await house.take({
    "Draft 1.pdf": makePdf("1"),
    "Draft 1.pdf.json": MANIFEST,
    "x.pdf": makePdf("x"),
    "x.pdf.json": MANIFEST,
  });
  expect(house.only().documents[0]?.name).toBe("x.pdf");
  expect(readdirSync(house.at("inbox")).sort()).toEqual(["Draft 1.pdf", "Draft 1.pdf.json"]);
});

test("W36: what is older than was set goes, by when it came there, from no other folder", async () => {
  const house = startInboxHouse();
  await house.put("failed", { "old.pdf": "x" });
  await house.put("signed", { "old.pdf": "x" });
  await house.put("duplicates", { "old.pdf": "x" });
  mkdirSync(house.at("archive"), { recursive: true });
  // The time of a copy says nothing of when it came.
  utimesSync(house.at("failed", "old.pdf"), new Date(0), new Date(0));
  const folders = { archive: house.at("archive"), failed: house.at("failed"), duplicates: house.at("duplicates") };
  let now = Date.now();
  const purge = createPurge({ folders, purgeMs: { failed: 86_400_000 }, now: () => now });
  expect(await purge()).toBe(0);
  now += 2 * 86_400_000;
  expect(await purge()).toBe(1);
  expect(readdirSync(house.at("failed"))).toEqual([]);
  expect(readdirSync(house.at("duplicates"))).toEqual(["old.pdf"]);
  expect(readdirSync(house.at("signed"))).toEqual(["old.pdf"]);
});
