import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import promises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { InboxConfig, InboxRoot } from "../../src/producers/inbox/config.ts";
import { toRequestId } from "../../src/core/request.ts";
import { createClaims } from "../../src/producers/inbox/claim.ts";
import { createLedger, LEDGER } from "../../src/producers/inbox/ledger.ts";
import { printOf, toMark } from "../../src/producers/inbox/look.ts";
import { MARKER } from "../../src/producers/inbox/presence.ts";
import { createSource } from "../../src/producers/inbox/source.ts";
import { dieBefore } from "../helpers/dying.ts";
import { mountSmallDisk, whyNoSmallDisk } from "../helpers/small-disk.ts";
import { type Drop, makePdf, MANIFEST, SIGNER, startInboxHouse } from "../integration/inbox-house.ts";

if (whyNoSmallDisk) process.stderr.write(`A source that cannot be written to is not tried: ${whyNoSmallDisk}.\n`);

/** An inbox called scans that copies from a folder, and keeps everything else in one of its own. */
function startCopying({
  source,
  root = {},
  config = {},
}: { source?: string; root?: Partial<InboxRoot>; config?: InboxConfig } = {}) {
  const house = startInboxHouse({ config: { reportMs: 2_000, ...config } });
  const [dir, from] = [house.at("scans"), source ?? house.at("source")];
  mkdirSync(dir);
  mkdirSync(from, { recursive: true });
  writeFileSync(join(dir, MARKER), "");
  const own = { name: "scans", dir, source: from, defaults: { signer: SIGNER }, ...root };
  house.reopen({ root: own });
  const put = (files: Drop) => house.put(source === undefined ? "source" : "none", files);
  return {
    ...house,
    from: (...names: string[]) => join(from, ...names),
    at: (...names: string[]) => join(dir, ...names),
    drop: put,
    async take(files: Drop) {
      await put(files);
      await house.pass(1_000, 8);
    },
    status: (name: string) => house.json("scans", "status", `${name}.status.json`),
    again: () => house.restart({ root: own }),
    taken: () => house.pipeline.submissions.map(({ documents }) => documents.map(({ name }) => name).join("+")).sort(),
  };
}

/** Everything about the files of a folder that a program could have changed. */
function snapshot(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .sort()
    .map((name) => {
      const { ino, size, mtimeMs, ctimeMs, mode } = statSync(join(folder, name));
      return [name, ino, size, mtimeMs, ctimeMs, mode].join(" ");
    });
}

const DROPPED = {
  "a.pdf": makePdf("a"),
  "b.pdf": makePdf("b"),
  "b.pdf.json": MANIFEST,
  loan: { "1.pdf": makePdf("1"), "2.pdf": makePdf("2"), "request.json": MANIFEST },
};

test("W16: files of a source are taken once, by copy, and nothing there is written, renamed or removed", async () => {
  const house = startCopying();
  await house.drop(DROPPED);
  const before = snapshot(house.from());
  await house.pass(1_000, 8);
  expect(house.taken()).toEqual(["1.pdf+2.pdf", "a.pdf", "b.pdf"]);
  await house.pass(60_000, 3);
  await house.again();
  await house.pass(1_000, 8);
  expect(house.taken()).toEqual(["1.pdf+2.pdf", "a.pdf", "b.pdf"]);
  for (const { id } of house.pipeline.submissions) house.pipeline.move(id, { phase: "refused" });
  await house.pass(1_000, 2);
  expect(snapshot(house.from())).toEqual(before);
  // What is to be told, and what comes back, goes to the folder that can be written.
  expect(await house.status("a.pdf")).toMatchObject({ state: "refused", now_at: "failed/a.pdf" });
  expect(readFileSync(house.at("failed", "a.pdf")).equals(DROPPED["a.pdf"])).toBe(true);
  expect(readdirSync(house.at("failed", "loan")).sort()).toEqual(["1.pdf", "2.pdf", "request.json"]);
  expect(house.inbox().status()).toMatchObject({ taken: 4, waiting: 0 });
});

test("W16: what was changed under its old name is a new file; the same bytes again are a duplicate", async () => {
  const house = startCopying();
  await house.take({ "a.pdf": makePdf("a") });
  await house.take({ "a.pdf": makePdf("another") });
  expect(house.taken()).toEqual(["a.pdf", "a.pdf"]);
  expect(new Set(house.pipeline.submissions.map(({ documents }) => documents[0]?.sha256)).size).toBe(2);
  await house.take({ "copy.pdf": makePdf("a") });
  expect(house.taken()).toHaveLength(2);
  expect(existsSync(house.at("duplicates", "copy.pdf"))).toBe(true);
  utimesSync(house.from("a.pdf"), 1, 1);
  await house.pass(60_000, 1);
  await house.pass(1_000, 8);
  expect(house.taken()).toHaveLength(2);
  expect(existsSync(house.at("duplicates", "a.pdf"))).toBe(true);
});

test("W16, W29: a sidecar that is mended makes another attempt; one that goes away asks nobody else to sign", async () => {
  const house = startCopying();
  await house.take({ "a.pdf": makePdf("a"), "a.pdf.json": "{" });
  expect((await house.json("scans", "failed", "a.pdf.error.json"))["code"]).toBe("invalid-manifest");
  await house.drop({ "a.pdf.json": MANIFEST });
  await house.pass(60_000, 1);
  await house.pass(1_000, 8);
  expect(house.taken()).toEqual(["a.pdf"]);
  rmSync(house.from("a.pdf.json"));
  await house.pass(60_000, 1);
  await house.pass(1_000, 8);
  expect(house.taken()).toEqual(["a.pdf"]);
  expect(readdirSync(house.at("duplicates"))).toEqual([]);
});

test("W16: a file that changes while it is copied is left alone, and taken when it has settled", async () => {
  const house = startCopying();
  // Large enough to be copied in several pieces, and appended to before the second reading.
  await house.drop({ "a.pdf": makePdf("x".repeat(3_000_000)) });
  await house.pass(1_000, 1);
  const passing = house.pass(1_000, 1);
  const timer = setInterval(() => appendFileSync(house.from("a.pdf"), "\n"), 1);
  await passing;
  clearInterval(timer);
  const whenDone = house.taken().length;
  appendFileSync(house.from("a.pdf"), "\n");
  await house.pass(1_000, 60);
  const sizes = house.pipeline.submissions.map(({ documents }) => documents[0]?.sizeBytes);
  expect(sizes.at(-1)).toBe(statSync(house.from("a.pdf")).size);
  expect(sizes).toHaveLength(whenDone + 1);
});

describe("W16, W12: a process that dies at any step", () => {
  test.each([["a file"], ["a file with its sidecar"], ["a folder"]])(
    "takes %s once, and loses nothing",
    async (what) => {
      const files = {
        "a file": { "a.pdf": DROPPED["a.pdf"] },
        "a file with its sidecar": { "b.pdf": DROPPED["b.pdf"], "b.pdf.json": MANIFEST },
        "a folder": { loan: DROPPED.loan },
      }[what] as Drop;
      let deaths = 0;
      for (let n = 1; n < 200; n++) {
        const house = startCopying();
        await house.again();
        await house.drop(files);
        const before = snapshot(house.from());
        await house.pass(500, 1);
        const death = dieBefore(n);
        try {
          await house.pass(1_000, 6).catch(() => {});
        } finally {
          death.undo();
        }
        await house.inbox().stop();
        await house.again();
        await house.pass(1_000, 12);
        expect(house.taken(), `died before call ${n}`).toHaveLength(1);
        expect(existsSync(house.at("duplicates")) ? readdirSync(house.at("duplicates")) : []).toEqual([]);
        expect(existsSync(house.at("failed")) ? readdirSync(house.at("failed")) : []).toEqual([]);
        expect(readdirSync(house.at(".work", "gate", "copies")), `died before call ${n}`).toEqual([]);
        expect(snapshot(house.from())).toEqual(before);
        if (!death.isDead()) break;
        deaths += 1;
      }
      expect(deaths).toBeGreaterThan(15);
    },
    120_000,
  );
});

test("W16: a ledger whose last line was cut off by a crash is read, and goes on", async () => {
  const house = startCopying();
  await house.take({ "a.pdf": makePdf("a") });
  await house.inbox().stop();
  const path = house.at(".work", "gate", "ledger.jsonl");
  appendFileSync(path, '{"raw":"b.pdf","pri');
  await house.again();
  await house.take({ "b.pdf": makePdf("b") });
  expect(house.taken()).toEqual(["a.pdf", "b.pdf"]);
  await house.again();
  await house.pass(60_000, 3);
  expect(house.taken()).toEqual(["a.pdf", "b.pdf"]);
  expect(readFileSync(path, "utf8").trim().split("\n")).toHaveLength(2);
});

test("W16: the ledger forgets what has been gone for a month, and nothing before", async () => {
  const house = startCopying();
  const path = join(house.dataDir, "ledger.jsonl");
  let now = 1_000_000;
  const open = () => {
    const ledger = createLedger({ path, now: () => now });
    ledger.load();
    return ledger;
  };
  const ledger = open();
  const line = (raw: string) => ({ raw, print: "1:1", id: `req-${"0".repeat(25)}1`, sha256: "", atMs: now });
  await ledger.add(line("a.pdf"));
  await ledger.add(line("b.pdf"));
  await ledger.notice((raw) => raw === "a.pdf");
  now += 20 * 86_400_000;
  // A new process knows since when it has been gone.
  const next = open();
  await next.notice((raw) => raw === "a.pdf");
  expect(next.has("b.pdf", "1:1")).toBe(true);
  now += 11 * 86_400_000;
  await next.notice((raw) => raw === "a.pdf");
  expect(next.has("b.pdf", "1:1")).toBe(false);
  expect(open().size()).toBe(1);
});

test("W16, W32: a source that is emptied, as when its disk is away, is taken from no second time when it is back", async () => {
  const house = startCopying();
  await house.take(DROPPED);
  const away = `${house.from()}-away`;
  renameSync(house.from(), away);
  mkdirSync(house.from()); // the place where it is mounted
  await house.pass(40 * 86_400_000, 3);
  rmSync(house.from(), { recursive: true });
  await house.pass(1_000, 2);
  expect(house.inbox().check()).toMatchObject({ ok: false });
  renameSync(away, house.from());
  await house.pass(1_000, 8);
  await house.pass(60_000, 2);
  expect(house.inbox().check()).toMatchObject({ ok: true });
  expect(house.taken()).toEqual(["1.pdf+2.pdf", "a.pdf", "b.pdf"]);
  expect(readdirSync(house.at("duplicates"))).toEqual([]);
});

test("W16: what is another file by the time that it is copied does not count as the one that was seen", async () => {
  const house = startCopying();
  await house.drop({ "a.pdf": makePdf("a") });
  const gate = house.at(".work", "gate");
  mkdirSync(gate, { recursive: true });
  const source = createSource({ source: house.from(), gate, mustBeHere() {}, now: Date.now });
  await source.recover();
  const id = toRequestId(Buffer.alloc(16, 1));
  const claim = { format: 1 as const, id, form: "file" as const, raw: "a.pdf", claimedMs: 1, parts: [] };
  const copy = (print: string) => source.copy(claim, { form: "file", raw: "a.pdf", print });
  const print = printOf(toMark(statSync(house.from("a.pdf"))));
  await expect(copy(`1${print}`)).rejects.toMatchObject({ code: "EBUSY" });
  expect(readdirSync(join(gate, "copies"))).toEqual([]);
  expect(source.taken.size()).toBe(0);
  expect(await copy(print)).toBe(true);
  source.bringIn(id);
  expect(readdirSync(gate).sort()).toEqual(["copies", LEDGER, id].sort());
});

test("W16, W35: once all of a source is copied nothing waits there: no alarm, and a sweep ends; a changed JSON file is seen", async () => {
  const house = startCopying({ config: { oldestMostMs: 600_000 } });
  await house.take(DROPPED);
  await house.pass(60_000, 30);
  expect(house.inbox().status()).toMatchObject({ waiting: 0, settling: 0, oldestMs: 0, taken: 4, pending: 0 });
  expect(house.inbox().check().ok).toBe(true);
  writeFileSync(house.from("b.pdf.json"), JSON.stringify({ signer: { ...SIGNER, email: "bo@example.com" } }));
  await house.pass(60_000, 1);
  await house.pass(1_000, 8);
  expect(house.taken()).toEqual(["1.pdf+2.pdf", "a.pdf", "b.pdf", "b.pdf"]);
  expect(house.inbox().status()).toMatchObject({ waiting: 0, settling: 0, taken: 4 });
});

describe("W16: a source whose inbox is away, or somebody else's, while a file is copied", () => {
  const ids = [1, 2, 3].map((n) => toRequestId(Buffer.alloc(16, n)));
  const breathe = () => Promise.resolve();

  function prepare() {
    const house = startCopying();
    const [work, gate] = [house.at(".work"), house.at(".work", "gate")];
    mkdirSync(gate, { recursive: true });
    return { house, work, gate };
  }

  test("a copy that somebody has removed before it counts does not count: it is taken again", async () => {
    const { house, gate } = prepare();
    await house.drop({ "a.pdf": makePdf("a"), "a.pdf.json": MANIFEST });
    const parts = { source: house.from(), gate, now: Date.now };
    const other = createSource({ ...parts, mustBeHere() {} });
    let during: () => void = () => {};
    const source = createSource({ ...parts, mustBeHere: () => during() });
    await source.recover();
    const [id = ""] = ids;
    const claim = { format: 1 as const, id, form: "file" as const, raw: "a.pdf", claimedMs: 1, parts: [] };
    const print = ["a.pdf", "a.pdf.json"].map((name) => printOf(toMark(statSync(house.from(name))))).join(" ");
    const copy = () => source.copy({ ...claim, sidecar: "a.pdf.json" }, { form: "file", raw: "a.pdf", print });
    during = () => rmSync(join(gate, "copies", id));
    expect(await copy()).toBe(false);
    expect([source.taken.size(), readdirSync(join(gate, "copies"))]).toEqual([0, []]);
    // Who is at it himself leaves it alone, when the inbox is his again.
    let recovered: Promise<void> | undefined;
    during = () => void (recovered = source.recover());
    expect(await copy()).toBe(true);
    await recovered;
    source.bringIn(id);
    expect(readdirSync(gate).sort()).toEqual(["copies", LEDGER, id, `${id}.json`].sort());
    await other.recover();
    expect(other.rawOf(id)).toBe("a.pdf");
  });

  test("looking for what was left behind forgets no name of what is being copied", async () => {
    const { house, work, gate } = prepare();
    const names = () => readdirSync(gate).filter((name) => name.endsWith(".list"));
    let seen: string[] = [];
    const source = {
      copy: async () => {
        claims.unsettled();
        seen = names();
        return Promise.resolve(true);
      },
      bringIn() {},
      rawOf: () => undefined,
    };
    const claims = createClaims({ inbox: house.from(), work, now: () => 1, source });
    const taken = await claims.takeAll([{ form: "file", raw: "a.pdf" }], () => {}, breathe);
    expect(taken.map(({ raw }) => raw)).toEqual(["a.pdf"]);
    expect(seen).toHaveLength(1);
    taken.forEach((claim) => claims.settleIn(claim));
    expect(names()).toEqual([]);
  });

  test("what was copied before it was away is seen through by whoever comes next, and by nobody besides", async () => {
    const { house, work, gate } = prepare();
    const found: string[] = [];
    let n = 0;
    const source = {
      copy: async (claim: { id: string }) => {
        n += 1;
        if (n === 2) {
          claims.forgetUnsettled();
          found.push(...claims.unsettled().map(({ raw }) => raw));
          for (const one of claims.unsettled()) claims.settleIn(one);
        }
        writeFileSync(join(gate, claim.id), "x");
        return Promise.resolve(true);
      },
      bringIn() {},
      rawOf: () => undefined,
    };
    const claims = createClaims({ inbox: house.from(), work, now: () => 1, source });
    const wanted = ["a.pdf", "b.pdf", "c.pdf"].map((raw) => ({ form: "file" as const, raw }));
    const taken = await claims.takeAll(wanted, () => {}, breathe);
    expect(found).toEqual(["a.pdf"]);
    expect(taken.map(({ raw }) => raw)).toEqual(["b.pdf", "c.pdf"]);
  });

  test("a copy that is on no list any more has the name under which it was copied", async () => {
    const house = startCopying();
    const gate = house.at(".work", "gate");
    const [id = ""] = ids;
    await house.put("scans/.work/gate", { [id]: makePdf("a") });
    const ledger = createLedger({ path: join(gate, LEDGER), now: Date.now });
    await ledger.add({ raw: "a.pdf", print: "1 2", id, sha256: "", atMs: 1 });
    await house.again();
    await house.pass();
    expect(house.taken()).toEqual(["a.pdf"]);
  });
});

test("W16: what reads otherwise a second time is not taken, whatever its size and time say", async () => {
  const house = startCopying();
  await house.drop({ "a.pdf": makePdf("a") });
  await house.pass(500, 1);
  // As a share may answer that has half of an old file in its memory.
  const { open } = promises;
  let isOdd = true;
  promises.open = async (...args: Parameters<typeof open>) => {
    const file = await open(...args);
    if (args[0] !== house.from("a.pdf")) return file;
    const read = file.read.bind(file) as (...given: unknown[]) => Promise<{ bytesRead: number; buffer: Buffer }>;
    let beginnings = 0;
    const lies = async (buffer: Buffer, ...rest: number[]) => {
      const result = await read(buffer, ...rest);
      if (rest[2] === 0 && ++beginnings === 1 && isOdd) buffer[0] = 0;
      return result;
    };
    return Object.assign(file, { read: lies });
  };
  syncBuiltinESMExports();
  try {
    await house.pass(1_000, 6);
    expect(house.taken()).toEqual([]);
    expect(house.inbox().status().busy).toBe(1);
    isOdd = false;
    await house.pass(60_000, 2);
    await house.pass(1_000, 3);
    expect(house.taken()).toEqual(["a.pdf"]);
  } finally {
    promises.open = open;
    syncBuiltinESMExports();
  }
});

test("W16: what cannot be copied stays, and its status says why", async () => {
  const house = startCopying();
  await house.drop({ "a.pdf": makePdf("a") });
  symlinkSync(house.from("a.pdf"), house.from("link.pdf"));
  await house.pass(1_000, 8);
  expect(house.taken()).toEqual(["a.pdf"]);
  expect(await house.status("link.pdf")).toMatchObject({ state: "unusable", failure: { code: "not-a-regular-file" } });
  expect(readdirSync(house.from()).sort()).toEqual(["a.pdf", "link.pdf"]);
});

test.skipIf(whyNoSmallDisk !== undefined)(
  "W16: a source on a disk that cannot be written to serves as well as any other",
  async () => {
    const disk = mountSmallDisk(2);
    const house = startCopying({ source: disk.dir });
    writeFileSync(join(disk.dir, "a.pdf"), makePdf("a"));
    disk.makeReadOnly();
    await house.pass(1_000, 8);
    await house.pass(60_000, 2);
    expect(house.taken()).toEqual(["a.pdf"]);
    expect(house.inbox().check()).toMatchObject({ ok: true });
  },
);

test("W16, W26: files are copied from the folders of a route, and a wrong folder is told of in its status", async () => {
  const route = { levels: [{ word: "tenant" as const, values: ["acme"] }], onlyFolders: false };
  const house = startCopying({ root: { route } });
  await house.take({ acme: { "a.pdf": makePdf("a") }, nobody: { "b.pdf": makePdf("b") } });
  await house.pass(1_000, 3);
  expect(house.only()).toMatchObject({ tenant: "acme" });
  expect(await house.status("nobody")).toMatchObject({ failure: { code: "unknown-folder" } });
  expect(readdirSync(house.from(), { recursive: true }).sort()).toEqual([
    "acme",
    "acme/a.pdf",
    "nobody",
    "nobody/b.pdf",
  ]);
});

test("W11: an inbox whose folders lie on two disks is refused, with the way out", async () => {
  const house = startInboxHouse();
  const elsewhere = mkdtempSync("/dev/shm/signpipe-work-");
  try {
    const dir = house.at("legal");
    mkdirSync(dir);
    writeFileSync(join(dir, MARKER), "");
    symlinkSync(elsewhere, join(dir, ".work"));
    house.reopen({ root: { name: "legal", dir } });
    await house.pass(1_000, 1);
    expect(house.inbox().check()).toMatchObject({ ok: false });
    expect(house.inbox().check().note).toMatch(/cannot be renamed into its folder work:.*"mode": "copy"/);
  } finally {
    rmSync(elsewhere, { recursive: true });
  }
});

test("W16: a folder in which something is still being written is not signed without it", async () => {
  const house = startCopying({ config: { settleMaxMs: 10_000 } });
  const files = { ...DROPPED.loan, "3.pdf.part": makePdf("3") };
  await house.take({ loan: files });
  await house.pass(1_000, 4);
  expect(house.taken()).toEqual([]);
  await house.pass(10_000, 2);
  expect(house.taken()).toEqual([]);
  expect((await house.json("scans", "failed", "loan.error.json"))["code"]).toBe("pdf-incomplete");
});

test("W16: a ledger that cannot be read is an alarm, and no empty one: nothing is taken a second time", async () => {
  const house = startCopying();
  await house.take({ "a.pdf": makePdf("a") });
  await house.inbox().stop();
  const path = house.at(".work", "gate", "ledger.jsonl");
  const text = readFileSync(path);
  rmSync(path);
  mkdirSync(path);
  await house.again();
  await house.pass(1_000, 8);
  expect(house.taken()).toEqual(["a.pdf"]);
  expect(existsSync(house.at("duplicates", "a.pdf"))).toBe(false);
  expect(house.inbox().check()).toMatchObject({ ok: false, note: expect.stringContaining("its ledger") as string });
  rmSync(path, { recursive: true });
  writeFileSync(path, text);
  await house.pass(60_000, 2);
  expect(house.taken()).toEqual(["a.pdf"]);
  expect(house.inbox().check()).toMatchObject({ ok: true });
});
