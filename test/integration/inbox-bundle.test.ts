import { mkdirSync, writeFileSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { RetryableError } from "../../src/core/errors.ts";
import type { RequestId } from "../../src/core/request.ts";
import { MARKER } from "../../src/producers/inbox/presence.ts";
import { createFakePipeline, makePdf, MANIFEST, redisAway, sha256, startInboxHouse } from "./inbox-house.ts";

type House = ReturnType<typeof startInboxHouse>;

const config = { bundle: { windowMs: 600_000 } };
const OTHER = JSON.stringify({ signer: { email: "bo@example.com", mobile_phone_number: "+34611111111" } });
const failure = { code: "otp-rejected", message: "The provider sent no code", stage: "otp" };

const one = (name: string, manifest = MANIFEST) => ({ [name]: makePdf(name), [`${name}.json`]: manifest });
const documentsOf = (house: House, id: RequestId) =>
  house.pipeline.records.get(id)?.facts["documents"] as { id: string; name: string }[];

const namesOf = (house: House, id: RequestId) =>
  documentsOf(house, id)
    .map(({ name }) => name)
    .sort();

/** The one request that there is. */
function onlyId(house: House): RequestId {
  const ids = [...house.pipeline.records.keys()];
  expect(ids).toHaveLength(1);
  return ids[0] ?? "";
}

/** The whole request comes home signed. */
async function sign(house: House, id: RequestId): Promise<void> {
  const results = documentsOf(house, id).map(({ id: original, name }) => {
    const bytes = `${name} signed`;
    return {
      id: original,
      name: `${name}.signed.pdf`,
      sizeBytes: bytes.length,
      sha256: sha256(Buffer.from(bytes)),
      bytes,
    };
  });
  const contract = { name: "contract.pdf", sizeBytes: 8, sha256: sha256(Buffer.from("contract")) };
  await house.put(`signed/${id}`, {
    ...Object.fromEntries(results.map(({ name, bytes }) => [name, bytes])),
    "contract.pdf": "contract",
    "evidence.json": "{}",
  });
  house.pipeline.move(id, { phase: "done", facts: { signed: results, contract } });
}

describe("an inbox that bundles", () => {
  test("has one request for the files of a signer; each has a status, a result and an archived original of its own", async () => {
    const house = startInboxHouse({ config });
    await house.take({ ...one("a.pdf"), ...one("b.pdf"), ...one("c.pdf", OTHER) });
    await house.take(one("late.pdf"));
    const ids = [...house.pipeline.records.keys()];
    expect(ids).toHaveLength(2);
    const [id = ""] = ids.filter((each) => documentsOf(house, each).length === 3);
    expect(documentsOf(house, id).map(({ name }) => name)).toHaveLength(3);
    expect(documentsOf(house, id).at(-1)?.name).toBe("late.pdf");
    await house.pass();
    for (const name of ["a.pdf", "b.pdf", "late.pdf"]) {
      expect(await house.status(name)).toMatchObject({ file: name, request_id: id, state: "queued", together: 3 });
    }
    expect(await house.status("c.pdf")).toMatchObject({ together: 1 });

    await sign(house, id);
    await house.pass();
    for (const name of ["a.pdf", "b.pdf", "late.pdf"]) {
      const status = await house.status(name);
      expect(status).toMatchObject({ state: "done", request_id: id });
      expect(status["signed"]).toEqual([`signed/${id}/${name}.signed.pdf`, `signed/${id}/contract.pdf`]);
      expect(await house.tree(String(status["now_at"]))).toEqual([name]);
    }
    const left = (await house.tree(".work")).filter((path) => !path.includes("c.pdf"));
    expect(new Set(left.map((path) => path.split("/")[0]))).toEqual(new Set(ids.filter((each) => each !== id)));
    expect(await house.tree("inbox")).toEqual([]);
  });

  test("is off unless somebody turns it on, and leaves folders as they are", async () => {
    const plain = startInboxHouse();
    await plain.take({ ...one("a.pdf"), ...one("b.pdf") });
    expect(plain.pipeline.records.size).toBe(2);
    const house = startInboxHouse({ config });
    await house.take({ ...one("a.pdf"), folder: { "b.pdf": makePdf("b"), "request.json": MANIFEST } });
    expect(house.pipeline.records.size).toBe(2);
  });

  test("sets a bad file aside by itself, and the others are one request", async () => {
    const house = startInboxHouse({ config });
    const bad = { "bad.pdf": makePdf("bad", { encrypted: true }), "bad.pdf.json": MANIFEST };
    await house.take({ ...one("a.pdf"), ...bad, ...one("b.pdf") });
    expect(namesOf(house, onlyId(house))).toEqual(["a.pdf", "b.pdf"]);
    expect(await house.tree("failed")).toEqual(["bad.pdf", "bad.pdf.error.json", "bad.pdf.error.txt", "bad.pdf.json"]);
  });

  test("gives each file back with a note of its own when the request fails, and a retry of it brings all", async () => {
    const house = startInboxHouse({ config });
    await house.take({ ...one("a.pdf"), ...one("b.pdf") });
    const id = onlyId(house);
    house.pipeline.move(id, { phase: "failed", failure });
    await house.pass();
    for (const name of ["a.pdf", "b.pdf"]) {
      expect(await house.json("failed", `${name}.error.json`)).toMatchObject({ code: "otp-rejected", request_id: id });
      expect(await house.read("failed", `${name}.json`)).toBe(MANIFEST);
      expect(await house.status(name)).toMatchObject({ state: "failed", now_at: `failed/${name}` });
    }
    house.pipeline.move(id, { phase: "queued" });
    await sign(house, id);
    await house.pass();
    expect(await house.tree("failed")).toEqual([]);
    expect((await house.tree("archive")).map((path) => path.split("/")[1]).sort()).toEqual(["a.pdf", "b.pdf"]);
    expect(await house.tree(".work")).toEqual([]);
  });

  test("takes a file that is put back after a failure as a new attempt, and forgets the old one when all are signed", async () => {
    const house = startInboxHouse({ config });
    await house.take({ ...one("a.pdf"), ...one("b.pdf") });
    const first = onlyId(house);
    house.pipeline.move(first, { phase: "failed", failure });
    await house.pass();
    for (const name of ["b.pdf", "b.pdf.json", "a.pdf", "a.pdf.json"]) {
      await rename(house.at("failed", name), house.at("inbox", name));
    }
    await house.pass(1_000, 8);
    const [, second = ""] = [...house.pipeline.records.keys()];
    expect(namesOf(house, second)).toEqual(["a.pdf", "b.pdf"]);
    expect(house.pipeline.records.get(second)?.facts["retryOf"]).toBe(first);
    await sign(house, second);
    await house.pass(1_000, 2);
    expect(await house.tree("failed")).toEqual([]);
    expect(await house.tree(".work")).toEqual([]);
  });

  test.each<[string, (house: House, id: RequestId) => Promise<void>]>([
    ["cannot be read", (house, id) => house.put(`.work/${id}`, { "claim.json": "{" })],
    ["cannot be archived", (house, id) => house.put("archive", { [id]: "in the way" })],
  ])("brings home what joined, although the claim of the first one %s", async (_, spoil) => {
    const house = startInboxHouse({ config });
    for (const name of ["a.pdf", "b.pdf", "c.pdf"]) await house.take(one(name));
    const id = onlyId(house);
    await spoil(house, id);
    await sign(house, id);
    await house.pass();
    for (const name of ["b.pdf", "c.pdf"]) expect(await house.status(name)).toMatchObject({ state: "done" });
  });

  test("waits for a request that is busy, and nobody is told that something is the matter", async () => {
    const pipeline = createFakePipeline();
    const house = startInboxHouse({ config, pipeline });
    await house.take(one("a.pdf"));
    house.reopen({
      pipeline: {
        ...pipeline,
        bundle: () => Promise.reject(new RetryableError("it is on its way", { code: "bundle-busy" })),
      },
    });
    await house.take(one("b.pdf"));
    expect(house.inbox().status()).toMatchObject({ pending: 1, held: 0, pausedMs: 0 });
  });

  test("sets the same document aside as a duplicate of the request that has it", async () => {
    const house = startInboxHouse({ config });
    await house.take({ ...one("a.pdf"), ...one("b.pdf") });
    await house.take({ "again.pdf": makePdf("b.pdf"), "again.pdf.json": MANIFEST });
    expect(await house.json("duplicates", "again.pdf.duplicate.json")).toMatchObject({
      duplicate_of: { request_id: onlyId(house) },
    });
  });

  test.each([
    ["before it joined", 0],
    ["after it had joined", 1],
  ])("a process that dies %s loses nothing, and signs nothing twice", async (_, joinedBefore) => {
    const pipeline = createFakePipeline();
    const house = startInboxHouse({ config, pipeline });
    await house.take(one("a.pdf"));
    const id = onlyId(house);
    // It is told which request it joins, and then nothing more is heard of it.
    const bundle = pipeline.bundle.bind(pipeline);
    house.reopen({
      pipeline: {
        ...pipeline,
        async bundle(submission, bundling) {
          if (joinedBefore === 1) await bundle(submission, bundling);
          else await bundling.joining(id);
          return await new Promise(() => {});
        },
      },
    });
    await house.drop(one("b.pdf"));
    for (let n = 0; n < 8; n++) void house.pass(1_000);
    await expect
      .poll(async () => (await house.tree(".work")).filter((path) => path.endsWith("claim.json")).length)
      .toBe(2);
    await expect
      .poll(async () =>
        JSON.stringify(
          await Promise.all(
            (await house.tree(".work"))
              .filter((path) => path.endsWith("claim.json"))
              .map((path) => house.json(".work", path)),
          ),
        ),
      )
      .toContain(`"joined":"${id}"`);
    expect(documentsOf(house, id)).toHaveLength(1 + joinedBefore);

    await house.restart({ pipeline });
    await house.pass(1_000, 3);
    expect(documentsOf(house, id).map(({ name }) => name)).toEqual(["a.pdf", "b.pdf"]);
    expect(pipeline.records.size).toBe(1);
    await sign(house, id);
    await house.pass();
    expect((await house.tree("archive")).map((path) => path.split("/")[1]).sort()).toEqual(["a.pdf", "b.pdf"]);
    expect(await house.tree(".work")).toEqual([]);
  });

  test("whose request closes while it was about to join makes one of its own, and follows that", async () => {
    const pipeline = createFakePipeline();
    const house = startInboxHouse({ config, pipeline });
    await house.take(one("a.pdf"));
    const first = onlyId(house);
    const bundle = pipeline.bundle.bind(pipeline);
    house.reopen({
      pipeline: {
        ...pipeline,
        async bundle(_submission, bundling) {
          await bundling.joining(first);
          pipeline.move(first, { phase: "cancelled" });
          throw redisAway();
        },
      },
    });
    await house.take(one("b.pdf"));
    await house.restart({ pipeline: { ...pipeline, bundle } });
    await house.pass(1_000, 3);
    const [, second = ""] = [...pipeline.records.keys()];
    expect(documentsOf(house, second).map(({ name }) => name)).toEqual(["b.pdf"]);
    expect(await house.status("b.pdf")).toMatchObject({ request_id: second, state: "queued" });
    expect(await house.status("a.pdf")).toMatchObject({ request_id: first, state: "cancelled" });
  });
});

describe("what is handed in again, where duplicates are given what was signed", () => {
  /** Two papers of one signer are signed as one request; the other inbox knows one of them. */
  async function startWithTwo() {
    const pipeline = createFakePipeline();
    const house = startInboxHouse({ config, pipeline });
    await house.take({ ...one("a.pdf"), ...one("b.pdf") });
    const id = onlyId(house);
    await sign(house, id);
    await house.pass();
    mkdirSync(house.at("other"));
    writeFileSync(house.at("other", MARKER), "");
    house.reopen({
      root: { name: "other", dir: house.at("other") },
      config: { ...config, duplicates: "link", watch: "poll" },
    });
    const again = async () => {
      await house.put("other/inbox", one("a.pdf"));
      await house.pass(10_000, 8);
      return await house.json("other", "status", "a.pdf.status.json");
    };
    return { house, id, again };
  }

  test("comes with its own results alone: the others of that request may be none of this inbox's business", async () => {
    const { house, id, again } = await startWithTwo();
    expect(await again()).toMatchObject({
      state: "duplicate",
      signed: [`signed/${id}/a.pdf.signed.pdf`, `signed/${id}/contract.pdf`],
    });
    expect(await house.tree("other", "signed")).toEqual([`${id}/a.pdf.signed.pdf`, `${id}/contract.pdf`]);
  });

  test("is set aside without them where somebody has removed them, and keeps nobody waiting", async () => {
    const { house, id, again } = await startWithTwo();
    await rm(house.at("signed", id), { recursive: true });
    expect(await again()).toMatchObject({ state: "duplicate", now_at: "duplicates/a.pdf" });
    expect(house.inbox().status()).toMatchObject({ pending: 0, duplicates: 1, pausedMs: 0 });
  });
});
