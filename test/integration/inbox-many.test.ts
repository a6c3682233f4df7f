import { existsSync } from "node:fs";
import { link, mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { memberIds } from "../../src/core/group.ts";
import type { RequestId } from "../../src/core/request.ts";
import { dieBefore } from "../helpers/dying.ts";
import { type Drop, makePdf, MANIFEST, sha256, startInboxHouse } from "./inbox-house.ts";

type House = ReturnType<typeof startInboxHouse>;

const NAMES = Array.from({ length: 23 }, (_, i) => `${i + 1} deed.pdf`);
const SPLIT = [NAMES.slice(0, 8), NAMES.slice(8, 16), NAMES.slice(16)];
const failure = { code: "otp-rejected", message: "The provider sent no code", stage: "otp" };

function estate(names = NAMES): Drop {
  return { estate: { ...Object.fromEntries(names.map((name) => [name, makePdf(name)])), "request.json": MANIFEST } };
}

function idsOf(house: House, attempt = 0, of = 3): RequestId[] {
  return memberIds({ id: house.pipeline.submissions[attempt]?.id ?? "", of });
}

/** What workers and the pipeline have done by then: documents in the folder of each request. */
async function share(house: House, ids: RequestId[]): Promise<void> {
  const [first = "", ...others] = ids;
  for (const [i, id] of others.entries()) {
    await mkdir(house.at(".work", id), { recursive: true });
    for (const [j, name] of (SPLIT[i + 1] ?? []).entries()) {
      await link(house.at(".work", first, `${NAMES.indexOf(name) + 1}.pdf`), house.at(".work", id, `${j + 1}.pdf`));
    }
  }
}

/** A request comes home signed. */
async function sign(house: House, id: RequestId): Promise<void> {
  const documents = house.pipeline.records.get(id)?.facts["documents"] as { name: string }[];
  const names = [...documents.map(({ name }) => `${name}.signed.pdf`), "contract.pdf"];
  await house.put(
    `signed/${id}`,
    Object.fromEntries([...names, "evidence.json"].map((name) => [name, `${name} ${id}`])),
  );
  const results = names.map((name) => ({ name, sizeBytes: 1, sha256: sha256(Buffer.from(`${name} ${id}`)) }));
  const [contract] = results.splice(-1);
  house.pipeline.move(id, { phase: "done", facts: { signed: results, contract } });
}

/** The names of the documents in each of the requests that were submitted. */
function submitted(house: House): string[][][] {
  return house.pipeline.submissions.map(({ documents, rest = [] }) =>
    [documents, ...rest].map((one) => one.map(({ name }) => name)),
  );
}

const signedNames = (names: string[]) => names.map((name) => `${name}.signed.pdf`);

describe("a folder with 23 PDFs", () => {
  test("becomes three requests, in the order of the names, and one status that tells of each", async () => {
    const house = startInboxHouse();
    await house.take(estate());
    expect(submitted(house)).toEqual([SPLIT]);
    const ids = idsOf(house);
    const waiting = { for: "identification", whose: "signer", sinceMs: 1, untilMs: 2 };
    house.pipeline.move(ids[1] ?? "", { phase: "waiting", waiting, facts: { videoidLink: "https://example.com/v" } });
    await house.pass();
    const status = await house.status("estate");
    expect(status).toMatchObject({ file: "estate", request_id: ids[0], state: "waiting" });
    expect(status["requests"]).toMatchObject([
      { request_id: ids[0], state: "queued", documents: SPLIT[0] },
      { request_id: ids[1], state: "waiting", documents: SPLIT[1], videoid_link: "https://example.com/v" },
      { request_id: ids[2], state: "queued", documents: SPLIT[2] },
    ]);
    expect(status).not.toHaveProperty("videoid_link");
    expect(await house.tree("status")).toEqual(["estate.status.json"]);
  });

  test("comes back as one: all results in one folder, all originals in the archive, once the last request is done", async () => {
    const house = startInboxHouse();
    await house.take(estate());
    const [first = "", second = "", third = ""] = idsOf(house);
    await share(house, [first, second, third]);
    await sign(house, first);
    await sign(house, third);
    await house.pass();
    expect(await house.tree("archive")).toEqual([]);
    expect(await house.status("estate")).toMatchObject({ state: "queued" });
    await sign(house, second);
    await house.pass();
    const more = ["contract (2).pdf", "contract (3).pdf", "contract.pdf"];
    const evidence = ["evidence (2).json", "evidence (3).json", "evidence.json"];
    expect(await house.tree("signed", first)).toEqual([...signedNames(NAMES), ...more, ...evidence].sort());
    expect(await house.read("signed", first, "contract (3).pdf")).toBe(`contract.pdf ${third}`);
    expect(await house.tree("archive")).toEqual(NAMES.map((name) => `${first}/${name}`).sort());
    const status = await house.status("estate");
    expect(status).toMatchObject({ state: "done", now_at: `archive/${first}` });
    expect((status["signed"] as string[]).toSorted()).toEqual(
      [...signedNames(NAMES), ...more].map((name) => `signed/${first}/${name}`).sort(),
    );
    expect(await house.tree(".work")).toEqual([]);
    // Nothing takes the room of a second copy, and each request has its results where it had them.
    const [one, other] = await Promise.all(
      [second, first].map((id) => stat(house.at("signed", id, "9 deed.pdf.signed.pdf"))),
    );
    expect(one?.ino).toBe(other?.ino);
  });

  test("is given back as a whole when one request failed; put back, only what is not signed is signed", async () => {
    const house = startInboxHouse();
    await house.take(estate());
    const [first = "", second = "", third = ""] = idsOf(house);
    await share(house, [first, second, third]);
    await sign(house, first);
    house.pipeline.move(second, { phase: "failed", failure });
    await house.pass();
    expect(await house.tree("failed")).toEqual([]);
    await sign(house, third);
    await house.pass();
    expect(await house.tree("failed")).toEqual(
      [...NAMES, "request.json"]
        .map((name) => `estate/${name}`)
        .concat("estate.error.json", "estate.error.txt")
        .sort(),
    );
    expect(await house.read("failed", "estate.error.txt")).toBe(
      `estate: 8 of 23 documents did not come back signed: The provider sent no code. Have the operator retry them (signpipe retry ${second}), or drop the folder into the inbox again: what is signed is not signed a second time.\n`,
    );
    expect(await house.json("failed", "estate.error.json")).toMatchObject({
      code: "otp-rejected",
      request_id: first,
      requests: [first, second, third].map((id) => ({ request_id: id, state: id === second ? "failed" : "done" })),
    });
    const status = await house.status("estate");
    expect(status).toMatchObject({ state: "failed", now_at: "failed/estate", failure: { code: "otp-rejected" } });
    expect(status["signed"]).toHaveLength(17);

    await rename(house.at("failed", "estate"), house.at("inbox", "estate"));
    await house.pass(1_000, 8);
    expect(submitted(house)[1]).toEqual([SPLIT[1]]);
    expect(house.pipeline.submissions[1]).toMatchObject({ retryOf: first });
    const [again = ""] = idsOf(house, 1);
    await sign(house, again);
    await house.pass();
    expect((await house.tree("signed", again)).filter((name) => name.endsWith(".signed.pdf"))).toEqual(
      signedNames(NAMES).sort(),
    );
    expect(await house.status("estate")).toMatchObject({ state: "done", request_id: again });
    expect(await house.tree("archive")).toEqual(NAMES.map((name) => `${again}/${name}`).sort());
    for (const place of ["failed", ".work", "inbox", "duplicates"]) expect(await house.tree(place)).toEqual([]);
  });

  test("that is put back with a mistake in it, and once more without, is still the one of which a part is signed", async () => {
    const house = startInboxHouse();
    await house.take(estate());
    const [first = "", second = "", third = ""] = idsOf(house);
    await share(house, [first, second, third]);
    for (const id of [first, third]) await sign(house, id);
    house.pipeline.move(second, { phase: "failed", failure });
    await house.pass();
    await writeFile(house.at("failed", "estate", "request.json"), "{");
    await rename(house.at("failed", "estate"), house.at("inbox", "estate"));
    await house.pass(1_000, 8);
    const note = { code: "invalid-manifest", retry_of: first };
    expect(await house.json("failed", "estate.error.json")).toMatchObject(note);
    await writeFile(house.at("failed", "estate", "request.json"), MANIFEST);
    await rename(house.at("failed", "estate"), house.at("inbox", "estate"));
    await house.pass(1_000, 8);
    expect(await house.tree("duplicates")).toEqual([]);
    expect(submitted(house)[1]).toEqual([SPLIT[1]]);
    expect(house.pipeline.submissions[1]).toMatchObject({ retryOf: first });
  });

  test("comes back from failed/ when its failed request was retried and is done", async () => {
    const house = startInboxHouse();
    await house.take(estate());
    const [first = "", second = "", third = ""] = idsOf(house);
    await share(house, [first, second, third]);
    for (const id of [first, third]) await sign(house, id);
    house.pipeline.move(second, { phase: "failed", failure });
    await house.pass();
    await sign(house, second);
    await house.pass();
    expect(await house.tree("archive")).toHaveLength(23);
    expect(await house.status("estate")).toMatchObject({ state: "done" });
    for (const place of ["failed", ".work"]) expect(await house.tree(place)).toEqual([]);
  });

  test("of which nothing was signed, and nobody can retry it, leaves nothing but itself", async () => {
    const house = startInboxHouse();
    await house.take(estate());
    const ids = idsOf(house);
    await share(house, ids);
    for (const id of ids) house.pipeline.move(id, { phase: "refused" });
    await house.pass();
    expect(await house.tree("failed", "estate")).toHaveLength(24);
    expect(await house.read("failed", "estate.error.txt")).toMatch(/^estate: 23 of 23 documents .* Clear up why, then/);
    expect(await house.tree(".work")).toEqual([]);
  });

  test("stays one when its claim cannot be read any more: the records say how it was divided, and what was called how", async () => {
    const house = startInboxHouse();
    await house.take(estate());
    const [first = "", second = "", third = ""] = idsOf(house);
    await writeFile(house.at(".work", first, "claim.json"), "");
    for (const id of [first, third]) await sign(house, id);
    await house.restart();
    await house.pass();
    expect(await house.tree("archive")).toEqual([]);
    await sign(house, second);
    await house.pass();
    expect(await house.tree("archive")).toEqual(NAMES.map((name) => `${first}/${name}`).sort());
  });

  test("that was signed for another signer is put back with a new one, and is signed anew", async () => {
    const house = startInboxHouse();
    await house.take(estate());
    const [first = "", second = "", third = ""] = idsOf(house);
    for (const id of [first, third]) await sign(house, id);
    house.pipeline.move(second, { phase: "failed", failure });
    await house.pass();
    const other = { signer: { email: "eva@example.com", mobile_phone_number: "+34699999998" } };
    await writeFile(house.at("failed", "estate", "request.json"), JSON.stringify(other));
    await rename(house.at("failed", "estate"), house.at("inbox", "estate"));
    await house.pass(1_000, 8);
    expect(submitted(house)[1]).toEqual(SPLIT);
  });

  test("that is signed already, or under way, is a duplicate as a whole", async () => {
    const house = startInboxHouse();
    await house.take(estate());
    await house.take({
      again: estate()["estate"] as Drop,
      part: { "1.pdf": makePdf("20 deed.pdf"), "request.json": MANIFEST },
    });
    expect(house.pipeline.submissions).toHaveLength(1);
    expect(await house.tree("duplicates")).toEqual(
      expect.arrayContaining(["again/1 deed.pdf", "again.duplicate.txt", "part/1.pdf", "part.duplicate.txt"]),
    );
  });
});

/** What happens to a folder, step by step. A step may break off at any moment, and be followed by a restart. */
const STORY: Record<string, (house: House) => Promise<void>> = {
  "it is taken": async (house) => {
    if (house.pipeline.submissions.length === 0 && existsSync(house.at("inbox"))) await house.pass(1_000, 8);
  },
  "it is given back": (house) => house.pass(1_000, 2),
  "it is put back": (house) => house.pass(1_000, 8),
  "it is done": (house) => house.pass(1_000, 2),
};

/** Lets the process die before the `n`th change of the disk in a step. How many changes the step makes. */
async function tell(at: string, n: number): Promise<{ house: House; changes: number }> {
  const house = startInboxHouse();
  let changes = 0;
  const step = async (name: string) => {
    const act = STORY[name] as (house: House) => Promise<void>;
    if (name !== at) return await act(house);
    const dying = dieBefore(n);
    house.pipeline.goAway(() => new Error("the process is gone"), dying.isDead);
    await act(house).catch(() => {});
    changes = dying.calls();
    if (dying.isDead())
      await house
        .inbox()
        .stop()
        .catch(() => {});
    dying.undo();
    house.pipeline.goAway();
    if (dying.isDead()) await house.restart();
    await house.pass(1_000, 8);
  };
  await house.pass(0, 0);
  await house.drop(estate());
  await step("it is taken");
  const [first = "", second = "", third = ""] = idsOf(house);
  await share(house, [first, second, third]);
  for (const id of [first, third]) await sign(house, id);
  house.pipeline.move(second, { phase: "failed", failure });
  await step("it is given back");
  await rename(house.at("failed", "estate"), house.at("inbox", "estate"));
  await step("it is put back");
  await sign(house, idsOf(house, 1)[0] ?? "");
  await step("it is done");
  return { house, changes };
}

test.each(Object.keys(STORY))(
  "no document is lost or signed twice when the process dies at any moment while a folder of 23 is handled: %s",
  async (at) => {
    const { changes } = await tell(at, Number.POSITIVE_INFINITY);
    expect(changes).toBeGreaterThan(10);
    // A dozen moments, spread evenly; EVERY_CRASH=1 tries each, in minutes.
    const stride = Number(process.env["EVERY_CRASH"] ?? Math.ceil(changes / 12));
    for (let n = 1; n <= changes; n += stride) {
      const { house } = await tell(at, n);
      const where = `${at}, dead before change ${n} of ${changes}`;
      expect(submitted(house), where).toEqual([SPLIT, [SPLIT[1]]]);
      const id = house.pipeline.submissions[1]?.id ?? "";
      expect(await house.tree("archive"), where).toEqual(NAMES.map((name) => `${id}/${name}`).sort());
      const results = (await house.tree("signed", id)).filter((name) => name.endsWith(".signed.pdf"));
      expect(results, where).toEqual(signedNames(NAMES).sort());
      for (const place of ["inbox", "failed", "duplicates", ".work"]) {
        // Half of a note, which is removed a day later, is nothing that anybody dropped.
        const left = (await house.tree(place)).filter((name) => !/^\.[\w-]{12}\.part$/.test(name));
        expect(left, `${where}, ${place}`).toEqual([]);
      }
      expect(await house.status("estate"), where).toMatchObject({ state: "done", request_id: id });
      await house.inbox().stop();
      await rm(house.dataDir, { recursive: true });
    }
  },
  120_000,
);
