import { execFileSync, fork } from "node:child_process";
import { readFile, appendFile, chmod, mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import type { RequestId } from "../../src/core/request.ts";
import { createDocuments } from "../../src/files/documents.ts";
import type { InboxDocuments } from "../../src/producers/inbox/intake.ts";
import { type Claim, createClaims, type Wanted } from "../../src/producers/inbox/claim.ts";
import type { Submission } from "../../src/queues/pipeline-types.ts";
import { makePdf, MANIFEST, notAllowed, redisAway, startInboxHouse } from "./inbox-house.ts";

type House = ReturnType<typeof startInboxHouse>;
const PAIR = { "x.pdf": makePdf("a"), "x.pdf.json": MANIFEST };

const noPause = () => Promise.resolve();

function claimsOf(house: House) {
  return createClaims({ inbox: house.at("inbox"), work: house.at(".work"), now: () => 1 });
}

/** Claims as a process does that dies right afterwards. */
async function claim(house: House, wanted: Wanted): Promise<Claim> {
  const [claimed] = await claimsOf(house).takeAll([wanted], () => {}, noPause);
  if (!claimed) throw new Error("nothing was claimed");
  return claimed;
}

/** The same, with the claim's folder. */
async function claimAndSettle(house: House, wanted: Wanted): Promise<Claim> {
  const claims = claimsOf(house);
  const [claimed] = await claims.takeAll([wanted], () => {}, noPause);
  if (!claimed) throw new Error("nothing was claimed");
  claims.settleIn(claimed);
  return claimed;
}

const X: Wanted = { form: "file", raw: "x.pdf", sidecar: "x.pdf.json" };

/** What a process had done when it was killed. */
const CRASHES: Record<string, (house: House) => Promise<void>> = {
  "the list was written": async (house) => {
    const { id } = await claim(house, X);
    await rename(house.at(".work", "gate", id), house.at("inbox", "x.pdf"));
    await rename(house.at(".work", "gate", `${id}.json`), house.at("inbox", "x.pdf.json"));
  },
  "the PDF was claimed, but not its sidecar": async (house) => {
    const { id } = await claim(house, X);
    await rename(house.at(".work", "gate", `${id}.json`), house.at("inbox", "x.pdf.json"));
  },
  "everything was claimed": async (house) => {
    await claim(house, X);
  },
  "the claim got its folder": async (house) => {
    const { id } = await claim(house, X);
    await mkdir(house.at(".work", id));
  },
  "the claim was half written in its folder": async (house) => {
    const { id } = await claim(house, X);
    await mkdir(house.at(".work", id));
    await writeFile(house.at(".work", id, "claim.json"), '{"format":1,');
  },
  "the PDF was moved into the folder, but not its sidecar": async (house) => {
    const claimed = await claim(house, X);
    await mkdir(house.at(".work", claimed.id));
    await writeFile(house.at(".work", claimed.id, "claim.json"), JSON.stringify(claimed));
    await rename(house.at(".work", "gate", claimed.id), house.at(".work", claimed.id, "1.pdf"));
  },
  "the claim was settled": async (house) => {
    await claimAndSettle(house, X);
  },
  "the power failed and the claim was lost": async (house) => {
    const { id } = await claimAndSettle(house, X);
    await writeFile(house.at(".work", id, "claim.json"), "");
  },
  "the power failed and the list was lost": async (house) => {
    await claim(house, X);
    for (const name of await readdir(house.at(".work", "gate"))) {
      if (name.endsWith(".list")) await rm(house.at(".work", "gate", name));
    }
  },
};

test.each(Object.keys(CRASHES))("nothing is lost and nothing is twice when the process died after %s", async (step) => {
  const house = startInboxHouse();
  await house.pass(0, 0);
  await house.drop(PAIR);
  await CRASHES[step]?.(house);
  await house.restart();
  await house.pass(1_000, 4);
  expect(house.only().documents[0]).toMatchObject({ sizeBytes: PAIR["x.pdf"].length });
  expect(await house.tree("inbox")).toEqual([]);
  expect(await house.tree("failed")).toEqual([]);
  const { id } = house.only();
  house.pipeline.move(id, { phase: "done" });
  await house.pass();
  expect(await house.tree(".work")).toEqual([]);
});

test("a folder is arranged to its end after a crash in between", async () => {
  const house = startInboxHouse();
  await house.pass(0, 0);
  await house.drop({ f: { "a.pdf": makePdf("a"), "b.pdf": makePdf("b"), "request.json": MANIFEST } });
  const claimed = await claimAndSettle(house, { form: "folder", raw: "f" });
  claimed.parts = ["a.pdf", "b.pdf"].map((raw, i) => ({ raw, as: `${i + 1}.pdf` }));
  await claimsOf(house).save(claimed);
  await rename(house.at(".work", claimed.id, "folder", "a.pdf"), house.at(".work", claimed.id, "1.pdf"));
  await house.restart();
  expect(house.only().documents.map(({ name }) => name)).toEqual(["a.pdf", "b.pdf"]);
});

test("a crash after the submission makes no second request, and the status is told", async () => {
  const house = startInboxHouse();
  await house.take(PAIR);
  house.pipeline.changed.clear();
  await rm(house.at("status"), { recursive: true });
  await house.restart();
  expect(house.only()).toBeDefined();
  expect(await house.status("x.pdf")).toMatchObject({ state: "queued" });
});

test.each(["done", "failed", "refused"] as const)(
  "the move after a %s request is made up for after a crash",
  async (phase) => {
    const house = startInboxHouse();
    await house.take(PAIR);
    const { id } = house.only();
    house.pipeline.move(id, { phase });
    house.pipeline.changed.clear();
    await house.restart();
    expect(await house.status("x.pdf")).toMatchObject({ state: phase });
    const tree = await house.tree(phase === "done" ? "archive" : "failed");
    expect(tree).toContain(phase === "done" ? `${id}/x.pdf` : "x.pdf");
  },
);

test("giving back is finished after a crash between the file and its sidecar", async () => {
  const house = startInboxHouse();
  await house.pass(0, 0);
  await house.drop({ "x.pdf": "no pdf", "x.pdf.json": MANIFEST });
  const claimed = await claimAndSettle(house, X);
  const note = { code: "not-a-pdf", message: "m", state: "failed", retriable: true, at: "2026-01-01T00:00:00.000Z" };
  claimed.aside = { where: "failed", raw: "x.pdf", keep: false, note };
  await claimsOf(house).save(claimed);
  await rename(house.at(".work", claimed.id, "1.pdf"), house.at("failed", "x.pdf"));
  await house.restart();
  expect(await house.tree("failed")).toEqual(["x.pdf", "x.pdf.error.json", "x.pdf.error.txt", "x.pdf.json"]);
  expect(await house.tree(".work")).toEqual([]);
});

test("while Redis is away files wait in the inbox, and go on by themselves when it is back", async () => {
  const house = startInboxHouse();
  house.pipeline.goAway(redisAway);
  const names = Array.from({ length: 100 }, (_, n) => `${n}.pdf`);
  await house.drop({ ...Object.fromEntries(names.map((name) => [name, makePdf(name)])), "defaults.json": MANIFEST });
  await house.pass(1_000, 3);
  await house.drop({ "later.pdf": makePdf("later") });
  await house.pass(10_000, 3);
  expect(house.inbox().status().pausedMs).toBeGreaterThan(0);
  expect(house.inbox().check()).toMatchObject({ ok: false, note: expect.stringContaining("paused") });
  expect(await house.tree("inbox")).toContain("later.pdf");
  expect(await house.tree("failed")).toEqual([]);
  house.pipeline.goAway();
  await house.pass(60_000, 6);
  expect(new Set(house.pipeline.submissions.map(({ documents }) => documents[0]?.name))).toEqual(
    new Set([...names, "later.pdf"]),
  );
  expect(house.pipeline.submissions).toHaveLength(101);
  expect(house.inbox().check()).toMatchObject({ ok: true });
});

test("an outage that meets many files at once is one fault: the inbox resumes as soon after it as after one of a single file", async () => {
  const house = startInboxHouse();
  house.pipeline.goAway(redisAway);
  const names = Array.from({ length: 30 }, (_, n) => `${n}.pdf`);
  await house.drop({ ...Object.fromEntries(names.map((name) => [name, makePdf(name)])), "defaults.json": MANIFEST });
  await house.pass(1_000, 3);
  expect(house.inbox().check()).toMatchObject({ ok: false });
  house.pipeline.goAway();
  await house.pass(1_000, 5);
  expect(house.pipeline.submissions).toHaveLength(30);
});

test("a request that the pipeline will never take comes back with its reason", async () => {
  const house = startInboxHouse();
  house.pipeline.goAway(notAllowed);
  await house.take(PAIR);
  expect(await house.json("failed", "x.pdf.error.json")).toMatchObject({ code: "auto-approval-not-allowed" });
  expect(house.inbox().status().pausedMs).toBe(0);
});

test("a claim with a fault of its own does not keep the others out", async () => {
  const house = startInboxHouse();
  const inspect = house.inbox();
  await inspect.stop();
  const documents = createDocuments({ dir: house.at(".work") });
  house.reopen({
    documents: {
      async inspect(id: RequestId, file: string, name: string) {
        if (name === "poison.pdf") throw new Error("a bug");
        return await documents.inspect(id, file, name);
      },
    },
  });
  await house.drop({ "defaults.json": MANIFEST, "poison.pdf": makePdf("p"), "a.pdf": makePdf("a") });
  await house.pass(1_000, 4);
  await house.drop({ "b.pdf": makePdf("b"), "c.pdf": makePdf("c") });
  await house.pass(5_000, 8);
  expect(house.pipeline.submissions.map(({ documents: [one] }) => one?.name).sort()).toEqual([
    "a.pdf",
    "b.pdf",
    "c.pdf",
  ]);
});

test("when failed/ cannot be written, the file is kept and tried again without a loop, and the others go on", async () => {
  const house = startInboxHouse();
  await house.pass(0, 0);
  await rm(house.at("failed"), { recursive: true });
  await writeFile(house.at("failed"), "not a folder");
  await house.drop({ "bad.pdf": "no pdf", "bad.pdf.json": MANIFEST, ...PAIR });
  await house.pass(1_000, 8);
  expect(house.only().documents[0]?.name).toBe("x.pdf");
  expect(house.inbox().status()).toMatchObject({ held: 1, pausedMs: 0 });
  expect(house.logged.filter(({ level }) => level === "error")).toHaveLength(1);
  await rm(house.at("failed"));
  await mkdir(house.at("failed"));
  await house.pass(600_000, 2);
  expect(await house.tree("failed")).toContain("bad.pdf");
  expect(house.inbox().status()).toMatchObject({ held: 0 });
});

/** An inbox whose documents are looked at only after `before` was done to them. */
function houseWith(before: (house: House, id: RequestId) => Promise<void>): House {
  const house = startInboxHouse();
  const documents = createDocuments({ dir: house.at(".work") });
  const inspect: InboxDocuments["inspect"] = async (id, file, name) => {
    const document = await documents.inspect(id, file, name);
    await before(house, id);
    return document;
  };
  house.reopen({ documents: { inspect } });
  return house;
}

test("a file that is changed after it was claimed goes back into the inbox, and is taken when it is finished", async () => {
  const whole = Buffer.concat([PAIR["x.pdf"], Buffer.from(" ")]);
  let isChanged = false;
  const house = houseWith(async (the, id) => {
    if (!isChanged) await writeFile(the.at(".work", id, "1.pdf"), whole);
    isChanged = true;
  });
  await house.drop(PAIR);
  await house.pass(1_000, 2);
  expect(house.pipeline.submissions).toEqual([]);
  expect(await house.tree("inbox")).toEqual(["x.pdf", "x.pdf.json"]);
  expect(await house.tree(".work")).toEqual([]);
  await house.pass(1_000, 3);
  expect(house.only().documents[0]).toMatchObject({ sizeBytes: whole.length });
  expect(await house.tree("failed")).toEqual([]);
});

test("a changed file whose name was taken meanwhile is set aside, and the new one is taken", async () => {
  const fresh = makePdf("fresh");
  let isChanged = false;
  const house = houseWith(async (the, id) => {
    if (!isChanged) {
      await appendFile(the.at(".work", id, "1.pdf"), " ");
      await the.drop({ "x.pdf": fresh, "x.pdf.json": MANIFEST });
    }
    isChanged = true;
  });
  await house.drop(PAIR);
  await house.pass(1_000, 4);
  expect(house.only().documents[0]?.sizeBytes).toBe(fresh.length);
  expect(await house.json("failed", "x.pdf.error.json")).toMatchObject({ code: "file-changed" });
  expect(await house.tree("failed")).toContain("x.pdf.json");
});

test("while the disk is full nothing is given up, and everything goes on by itself afterwards", async () => {
  let isFull = true;
  const house = houseWith(async () => {
    if (isFull) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
  });
  await house.drop({ ...PAIR, "defaults.json": MANIFEST, "y.pdf": makePdf("y") });
  await house.pass(1_000, 3);
  await house.drop({ "z.pdf": makePdf("z") });
  await house.pass(10_000, 3);
  expect(house.inbox().check()).toMatchObject({ ok: false, note: expect.stringContaining("paused") });
  expect(house.logged.filter(({ message }) => message === "intake paused")).toEqual([
    { level: "warn", fields: { code: "disk-full" }, message: "intake paused" },
  ]);
  expect(await house.tree("failed")).toEqual([]);
  isFull = false;
  await house.pass(60_000, 6);
  const names = house.pipeline.submissions.map(({ documents: [one] }) => one?.name);
  expect(names.sort()).toEqual(["x.pdf", "y.pdf", "z.pdf"]);
});

test("a file on a bad place of the disk keeps nobody else out, and is neither failed nor lost", async () => {
  let isBad = true;
  const house = houseWith(async (the, id) => {
    if (isBad && (await readFile(the.at(".work", id, "1.pdf"), "utf8")).includes("bad place")) {
      throw Object.assign(new Error("i/o error"), { code: "EIO" });
    }
  });
  await house.drop({ "defaults.json": MANIFEST, "x.pdf": makePdf("bad place"), "y.pdf": makePdf("y") });
  await house.pass(1_000, 6);
  expect(house.only().documents[0]?.name).toBe("y.pdf");
  expect(house.inbox().status()).toMatchObject({ held: 1, pausedMs: 0, failed: 0 });
  isBad = false;
  await house.pass(60_000, 6);
  expect(house.pipeline.submissions).toHaveLength(2);
});

const NOBODY = 65_534;

/** Root may do everything; the rights of files can be tried by somebody else only. */
async function asNobody(act: () => Promise<void>): Promise<void> {
  if (process.getuid?.() !== 0) return await act();
  process.seteuid?.(NOBODY);
  try {
    await act();
  } finally {
    process.seteuid?.(0);
  }
}

test.each([
  ["a file may not be read", "x.pdf", 0o000, 0o644],
  ["the inbox may not be written", ".", 0o555, 0o755],
])("when %s, it stays, its status says so, and it is taken once that is mended", async (_what, name, barred, open) => {
  const house = startInboxHouse();
  await house.pass(0, 0);
  await house.drop(PAIR);
  execFileSync("chown", ["-R", `${process.getuid?.() === 0 ? NOBODY : process.getuid?.()}`, house.dataDir]);
  await chmod(house.at("inbox", name), barred);
  await asNobody(async () => {
    await house.pass(30_000, 4);
    expect(await house.status("x.pdf")).toMatchObject({
      state: "unusable",
      failure: { code: "file-busy", message: expect.stringMatching(/^It may not be read, or not be moved out/) },
    });
    expect(house.inbox().status()).toMatchObject({ busy: 1, pausedMs: 0 });
  });
  await chmod(house.at("inbox", name), open);
  await asNobody(() => house.pass(60_000, 2));
  expect(house.only().documents[0]?.name).toBe("x.pdf");
  expect(await house.status("x.pdf")).toMatchObject({ state: "queued" });
});

test("an end that cannot be told is tried again, and left to whoever comes next", async () => {
  const house = startInboxHouse();
  await house.take(PAIR);
  const { id } = house.only();
  await rm(house.at("archive"), { recursive: true });
  await writeFile(house.at("archive"), "not a folder");
  house.pipeline.move(id, { phase: "done" });
  await house.pass(1_000, 2);
  expect(house.inbox().status()).toMatchObject({ behind: 1 });
  await house.inbox().stop();
  expect([...house.pipeline.changed]).toEqual([id]);
  await rm(house.at("archive"));
  await house.restart();
  expect(await house.tree("archive")).toEqual([`${id}/x.pdf`]);
});

interface Call {
  n: number;
  method: "submit" | "find" | "takeChanged" | "putBackChanged";
  args: [never, never];
}

test("a process that is killed at any moment, again and again, loses nothing and submits nothing twice", async () => {
  const house = startInboxHouse();
  const pipeline = house.pipeline;
  const total = 150;
  const files = Object.fromEntries(
    Array.from({ length: total }, (_, n) => [`${n}.pdf`, n % 10 === 0 ? `no pdf ${n}` : makePdf(`${n}`)]),
  );
  // Folders that become several requests each.
  const folders = Object.fromEntries(
    Array.from({ length: 3 }, (_, n) => {
      const names = Array.from({ length: 23 }, (__, i) => `${i}.pdf`);
      const pdfs = names.map((name) => [name, makePdf(`folder ${n}, ${name}`)]);
      return [`folder ${n}`, { ...Object.fromEntries(pdfs), "request.json": MANIFEST }];
    }),
  );
  await house.drop({ ...files, ...folders, "defaults.json": MANIFEST });
  for (let kill = 1; kill <= 6; kill++) {
    const child = fork(new URL("./inbox-child.ts", import.meta.url), [house.dataDir], { stdio: "inherit" });
    const gone = new Promise((resolve) => child.once("exit", resolve));
    let calls = 0;
    child.on("message", (call: Call) => {
      // Killed by the number of its calls, which is not the same point twice.
      if (++calls === kill * 9) child.kill("SIGKILL");
      void (pipeline[call.method] as (...args: unknown[]) => Promise<unknown>)(...call.args).then((answer) => {
        if (child.connected) child.send({ n: call.n, answer }, () => {});
      });
    });
    await gone;
  }
  await house.restart();
  await house.pass(1_000, 6);
  const hashes = pipeline.submissions.flatMap(({ documents, rest = [] }: Submission) =>
    [...documents, ...rest.flat()].map((document) => document.sha256),
  );
  expect(new Set(hashes).size).toBe(hashes.length);
  expect(hashes).toHaveLength(total * 0.9 + 3 * 23);
  expect(pipeline.submissions).toHaveLength(total * 0.9 + 3);
  expect(await house.tree("inbox")).toEqual(["defaults.json"]);
  const back = await house.tree("failed");
  expect(back.filter((name) => name.endsWith(".pdf"))).toHaveLength(total / 10);
  expect(back.filter((name) => name.endsWith(".error.txt"))).toHaveLength(total / 10);
}, 60_000);
