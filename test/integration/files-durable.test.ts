import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import { makeFolder, replaceDurably, syncFolder, writeDurably } from "../../src/files/durable.ts";
import { type OnStep, type Step, watchSteps } from "../helpers/file-steps.ts";
import { factsOf, scratchFolder, tool } from "../helpers/pdfs.ts";

const base = scratchFolder("durable");
let dir: string;
let count = 0;
const undo: (() => unknown)[] = [];

beforeEach(() => {
  dir = join(base, String(++count));
  mkdirSync(dir);
});
afterEach(() => {
  for (const step of undo.splice(0)) step();
});

/** One that stays in memory until it is whole, and one that does not. */
const SIZES: [string, Buffer][] = [
  ["nothing", Buffer.alloc(0)],
  ["a small file", Buffer.alloc(30_000, "small")],
  ["as much as is kept in memory", Buffer.alloc(1 << 20, "edge")],
  ["a byte more", Buffer.alloc((1 << 20) + 1, "edge")],
  ["a larger file", Buffer.alloc(5_000_000, "large ")],
];
const SMALL = Buffer.alloc(30_000, "small");
const LARGE = Buffer.alloc(5_000_000, "large ");

async function* inBlocks(bytes: Buffer, blockBytes = 65_536): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += blockBytes) yield bytes.subarray(at, at + blockBytes);
}

async function watch(onStep: OnStep): Promise<void> {
  undo.push(await watchSteps(onStep));
}

function fault(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: said by the test`), { code });
}

const codeOf = (act: Promise<unknown>) =>
  act.then(
    () => "fine",
    (error: unknown) => (error as { code?: string }).code ?? String(error),
  );

describe.each(SIZES)("%s", (_what, bytes) => {
  test("is written as it came, and nothing lies beside it", async () => {
    const written = await writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes) });
    expect(written).toEqual({ ...factsOf(bytes), outcome: "written" });
    expect(readFileSync(join(dir, "a.pdf")).equals(bytes)).toBe(true);
    expect(readdirSync(dir)).toEqual(["a.pdf"]);
    expect(statSync(join(dir, "a.pdf")).mode & 0o777).toBe(0o600);
  });

  test("that is there already is left alone", async () => {
    await writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes) });
    const { ino } = statSync(join(dir, "a.pdf"));
    const again = await writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes, 999) });
    expect(again).toEqual({ ...factsOf(bytes), outcome: "already-there" });
    expect(statSync(join(dir, "a.pdf")).ino).toBe(ino);
    expect(readdirSync(dir)).toEqual(["a.pdf"]);
  });

  test("does not overwrite another one of its name", async () => {
    writeFileSync(join(dir, "a.pdf"), "somebody else's");
    expect(await codeOf(writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes) }))).toBe("name-taken");
    expect(readFileSync(join(dir, "a.pdf"), "utf8")).toBe("somebody else's");
    expect(readdirSync(dir)).toEqual(["a.pdf"]);
  });

  test("whose source breaks off leaves nothing", async () => {
    async function* cut(): AsyncGenerator<Buffer> {
      yield* inBlocks(bytes);
      throw new RetryableError("cut off", { code: "truncated" });
    }
    expect(await codeOf(writeDurably({ dir, name: "a.pdf", source: cut() }))).toBe("truncated");
    expect(readdirSync(dir)).toEqual([]);
  });

  test("that does not pass its check leaves nothing", async () => {
    const seen: number[] = [];
    const check = async ({ sizeBytes }: { sizeBytes: number }) => {
      seen.push(sizeBytes);
      expect(existsSync(join(dir, "a.pdf"))).toBe(false);
      throw new PermanentError("no", { code: "signature-invalid" });
    };
    expect(await codeOf(writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes), check }))).toBe(
      "signature-invalid",
    );
    expect(seen).toEqual([bytes.length]);
    expect(readdirSync(dir)).toEqual([]);
  });

  test("is checked by its bytes", async () => {
    const check = async (content: { sizeBytes: number; read(at: number, length: number): Promise<Buffer> }) => {
      expect((await content.read(0, content.sizeBytes)).equals(bytes)).toBe(true);
      expect(await content.read(content.sizeBytes, 10)).toHaveLength(0);
      return {};
    };
    expect(await codeOf(writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes), check }))).toBe("fine");
  });
});

test("a link of that name is not followed", async () => {
  writeFileSync(join(base, "target"), SMALL);
  symlinkSync(join(base, "target"), join(dir, "a.pdf"));
  expect(await codeOf(writeDurably({ dir, name: "a.pdf", source: inBlocks(SMALL) }))).toBe("not-a-regular-file");
  expect(readdirSync(dir)).toEqual(["a.pdf"]);
});

test("more than the most is refused as soon as it is seen", async () => {
  let given = 0;
  async function* endless(): AsyncGenerator<Buffer> {
    for (;;) {
      given += 65_536;
      yield Buffer.alloc(65_536);
    }
  }
  expect(await codeOf(writeDurably({ dir, name: "a.pdf", source: endless(), maxBytes: 3_000_000 }))).toBe(
    "file-too-large",
  );
  expect(given).toBeLessThan(8_000_000);
  expect(readdirSync(dir)).toEqual([]);
});

test("exactly the most is taken", async () => {
  expect(await codeOf(writeDurably({ dir, name: "a.pdf", source: inBlocks(LARGE), maxBytes: LARGE.length }))).toBe(
    "fine",
  );
});

test("a folder that is missing is made, with those above it", async () => {
  const deep = join(dir, "x", "y", "z");
  await writeDurably({ dir: deep, name: "a.pdf", source: inBlocks(SMALL) });
  expect(readdirSync(deep)).toEqual(["a.pdf"]);
  expect(statSync(deep).mode & 0o777).toBe(0o700);
});

test("ten at once with one content make one file", async () => {
  const all = await Promise.all(
    Array.from({ length: 10 }, () => writeDurably({ dir, name: "a.pdf", source: inBlocks(SMALL) })),
  );
  expect(all.filter(({ outcome }) => outcome === "written")).toHaveLength(1);
  expect(readdirSync(dir)).toEqual(["a.pdf"]);
});

describe("the order on the way to the disk", () => {
  async function stepsOf(bytes: Buffer, more: object = {}): Promise<string[]> {
    const steps: string[] = [];
    await watch((step, _n, when) => when === "after" && steps.push(step));
    await writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes), ...more });
    return steps.filter((step, i) => step !== steps[i - 1]);
  }

  test("the file is on disk and read back before it has its name; then its name is on disk", async () => {
    const folder = ["open", "sync"];
    for (const bytes of [SMALL, LARGE]) {
      expect(await stepsOf(bytes)).toEqual(["open", "writev", "sync", "read", "link", "unlink", ...folder]);
      rmSync(join(dir, "a.pdf"));
      for (const step of undo.splice(0)) step();
    }
  });

  test("what can be asked for again is not read back", async () => {
    expect(await stepsOf(LARGE, { readBack: false })).not.toContain("read");
  });

  test("a check that has read everything is the reading back", async () => {
    const check = async () => ({ sha256: factsOf(LARGE).sha256 });
    expect(await stepsOf(LARGE, { check })).not.toContain("read");
  });
});

describe.each([
  ["small", SMALL],
  ["large", LARGE],
])("what the disk says, about a %s file", (_what, bytes) => {
  const FAULTS: [Step, string, string][] = [
    ["open", "ENOSPC", "disk-full"],
    ["open", "EROFS", "disk-read-only"],
    ["writev", "ENOSPC", "disk-full"],
    ["writev", "EDQUOT", "disk-full"],
    ["writev", "EIO", "disk-error"],
    ["sync", "EIO", "disk-error"],
    ["sync", "ENOSPC", "disk-full"],
    ["read", "EIO", "disk-error"],
    ["link", "EIO", "disk-error"],
    ["link", "ENOSPC", "disk-full"],
  ];
  test.each(FAULTS)("%s says %s: it passes, and nothing is left", async (step, said, code) => {
    await watch((at, n, when) => {
      if (at === step && n === 1 && when === "before") throw fault(said);
    });
    const failure = await writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes) }).catch(
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(RetryableError);
    expect(failure).toMatchObject({ code });
    expect(readdirSync(dir)).toEqual([]);
    // The next attempt, on a disk that works again, succeeds.
    expect(await codeOf(writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes) }))).toBe("fine");
  });

  test("the folder cannot be put on disk: it is not claimed to be, and a repetition finds the file there", async () => {
    await watch((at, n, when) => {
      if (at === "sync" && n === 2 && when === "before") throw fault("EIO");
    });
    expect(await codeOf(writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes) }))).toBe("disk-error");
    const again = await writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes) });
    expect(again.outcome).toBe("already-there");
  });

  test("it does not read back as it was written: it never gets its name", async () => {
    let file = "";
    await watch((at, n, when) => {
      if (at !== "sync" || n !== 1 || when !== "after") return;
      file = join(dir, readdirSync(dir)[0] ?? "");
      const spoilt = Buffer.from(bytes);
      spoilt[1_000] = 0;
      writeFileSync(file, spoilt);
    });
    expect(await codeOf(writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes) }))).toBe("disk-error");
    expect(file).toMatch(/\.part$/);
    expect(readdirSync(dir)).toEqual([]);
  });

  test("it has another size than was written, and is not read back: it never gets its name", async () => {
    await watch((at, n, when) => {
      if (at === "sync" && n === 1 && when === "after") writeFileSync(join(dir, readdirSync(dir)[0] ?? ""), "cut");
    });
    const act = writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes), readBack: false });
    expect(await codeOf(act)).toBe("disk-error");
    expect(readdirSync(dir)).toEqual([]);
  });

  test("anything else is passed on as it is", async () => {
    await watch((at, _n, when) => {
      if (at === "link" && when === "before") throw fault("EPERM");
    });
    expect(await codeOf(writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes) }))).toBe("EPERM");
  });
});

test("a disk that takes less than it is given is given the rest", async () => {
  const file = await import("node:fs/promises").then((fs) => fs.open("/dev/null"));
  const prototype = Object.getPrototypeOf(file) as { writev: (chunks: Buffer[]) => Promise<{ bytesWritten: number }> };
  await file.close();
  const { writev } = prototype;
  undo.push(() => (prototype.writev = writev));
  let calls = 0;
  prototype.writev = async function (this: unknown, chunks) {
    calls += 1;
    const [first = Buffer.alloc(0)] = chunks;
    return await writev.call(this, [first.subarray(0, Math.max(1, Math.floor(first.length / 2)))]);
  };
  const bytes = Buffer.from(LARGE.subarray(0, 1_200_000));
  bytes.writeUInt32BE(0xdeadbeef, 600_001);
  await writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes, 300_000) });
  expect(calls).toBeGreaterThan(20);
  expect(readFileSync(join(dir, "a.pdf")).equals(bytes)).toBe(true);
});

test("on a file system that is really full", async () => {
  const full = join(dir, "full");
  mkdirSync(full);
  const mounted = tool("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", full);
  if (mounted?.status !== 0) {
    return void process.stderr.write(`left out, since nothing can be mounted here: ${mounted?.output ?? "no mount"}\n`);
  }
  undo.push(() => spawnSync("umount", [full]));
  expect(await codeOf(writeDurably({ dir: full, name: "a.pdf", source: inBlocks(LARGE) }))).toBe("disk-full");
  expect(readdirSync(full)).toEqual([]);
  expect(await codeOf(writeDurably({ dir: full, name: "b.pdf", source: inBlocks(SMALL) }))).toBe("fine");
  writeFileSync(join(full, "filler"), Buffer.alloc(1_900_000));
  const medium = Buffer.alloc(500_000);
  expect(await codeOf(writeDurably({ dir: full, name: "c.pdf", source: inBlocks(medium) }))).toBe("disk-full");
  expect(await codeOf(replaceDurably(join(full, "b.pdf"), medium))).toBe("disk-full");
  expect(readFileSync(join(full, "b.pdf")).equals(SMALL)).toBe(true);
  spawnSync("mount", ["-o", "remount,ro", full]);
  expect(await codeOf(writeDurably({ dir: full, name: "d.pdf", source: inBlocks(SMALL) }))).toBe("disk-read-only");
  expect(readdirSync(full).sort()).toEqual(["b.pdf", "filler"]);
});

describe("a process that is killed leaves nothing of that name, or the whole file", () => {
  async function dieAt(size: number, step: Step, n: number, when: string): Promise<"killed" | "no such step"> {
    const script = new URL("./files-child.ts", import.meta.url).pathname;
    const child = spawn(process.execPath, [script, dir, "a.pdf", String(size), step, String(n), when], {
      stdio: "inherit",
    });
    const signal = await new Promise((resolve) => child.once("exit", (_code, how) => resolve(how)));
    return signal === "SIGKILL" ? "killed" : "no such step";
  }

  const MOMENTS: [number, Step, number, string][] = [
    [30_000, "open", 1, "after"],
    [30_000, "writev", 1, "after"],
    [30_000, "sync", 1, "after"],
    [30_000, "link", 1, "before"],
    [30_000, "link", 1, "after"],
    [30_000, "unlink", 1, "after"],
    [30_000, "sync", 2, "after"],
    [3_000_000, "open", 1, "after"],
    [3_000_000, "writev", 2, "after"],
    [3_000_000, "sync", 1, "before"],
    [3_000_000, "read", 2, "after"],
    [3_000_000, "link", 1, "after"],
  ];
  test.each(MOMENTS)("%i bytes, %s %i, %s", async (size, step, n, when) => {
    expect(await dieAt(size, step, n, when)).toBe("killed");
    const bytes = Buffer.alloc(size, "a");
    const isNamed = (step === "link" && when === "after") || step === "unlink" || (step === "sync" && n === 2);
    expect(existsSync(join(dir, "a.pdf"))).toBe(isNamed);
    if (isNamed) expect(readFileSync(join(dir, "a.pdf")).equals(bytes)).toBe(true);
    expect(readdirSync(dir).every((name) => name === "a.pdf" || /^\.[\w-]{12}\.part$/.test(name))).toBe(true);
    const again = await writeDurably({ dir, name: "a.pdf", source: inBlocks(bytes) });
    expect(again).toEqual({ ...factsOf(bytes), outcome: isNamed ? "already-there" : "written" });
  });
});

describe("a small file that is replaced", () => {
  test("is the old one or the new one, whatever happens", async () => {
    const path = join(dir, "status.json");
    await replaceDurably(path, "old");
    for (const [step, said, code] of [
      ["open", "ENOSPC", "disk-full"],
      ["sync", "EIO", "disk-error"],
    ] as const) {
      await watch((at, n, when) => {
        if (at === step && n === 1 && when === "before") throw fault(said);
      });
      expect(await codeOf(replaceDurably(path, "new"))).toBe(code);
      for (const step of undo.splice(0)) step();
      expect(readFileSync(path, "utf8")).toBe("old");
      expect(readdirSync(dir)).toEqual(["status.json"]);
    }
    await replaceDurably(path, "new");
    expect(readFileSync(path, "utf8")).toBe("new");
    await replaceDurably(path, "newest", { fsync: false });
    expect(readFileSync(path, "utf8")).toBe("newest");
  });

  test("does not make a folder that is gone", async () => {
    expect(await codeOf(replaceDurably(join(dir, "gone", "a.json"), "x"))).toBe("ENOENT");
  });
});

test("every folder that is made is put on disk in the one above it", async () => {
  let synced = 0;
  await watch((step, _n, when) => {
    if (step === "sync" && when === "after") synced += 1;
  });
  await makeFolder(join(dir, "a", "b", "c"));
  expect(synced).toBe(3);
  await makeFolder(join(dir, "a", "b", "c"));
  expect(synced).toBe(3);
});

describe("a folder that many flush at once", () => {
  test("is flushed once for all who came meanwhile, and for nobody before he came", async () => {
    const begun: number[] = [];
    let clock = 0;
    await watch((step, _n, when) => {
      if (step === "sync" && when === "before") begun.push(++clock);
    });
    const first = syncFolder(dir);
    await until(() => begun.length === 1);
    const cameAt = ++clock;
    await Promise.all([first, ...Array.from({ length: 50 }, () => syncFolder(dir))]);
    expect(begun).toHaveLength(2);
    expect(begun[1]).toBeGreaterThan(cameAt);
    await syncFolder(dir);
    expect(begun).toHaveLength(3);
  });

  test("and cannot be flushed says so to each, and is flushed again for the next", async () => {
    await watch((step, n, when) => {
      if (step === "sync" && when === "before" && n <= 2) throw fault("EIO");
    });
    const codes = await Promise.all([1, 2, 3].map(() => codeOf(syncFolder(dir))));
    expect(codes).toEqual(["EIO", "EIO", "EIO"]);
    await syncFolder(dir);
  });
});

async function until(there: () => boolean): Promise<void> {
  for (let n = 0; !there() && n < 1_000; n++) await new Promise((resolve) => setImmediate(resolve));
  expect(there()).toBe(true);
}
