import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { MARKER } from "../../src/producers/inbox/presence.ts";
import { samplePdf, SIGNER } from "../helpers/house.ts";
import { freshFolder, spawnSignpipe } from "../helpers/signpipe-process.ts";

/** A deployment's folders, with a second inbox whose files need no manifest, and the command line on them. */
function makePlace() {
  const top = freshFolder();
  const file = join(top, "inboxes.json");
  const entry = { name: "legal", path: "legal", settle: "100ms", ignore: ["*.bak"], defaults: { signer: SIGNER } };
  writeFileSync(file, JSON.stringify([entry]));
  mkdirSync(join(top, "legal"));
  const env = {
    PATH: process.env["PATH"],
    DATA_DIR: join(top, "data"),
    INBOXES_FILE: file,
    REDIS_URL: inject("redisUrl"),
    REDIS_PREFIX: `{command-${process.pid}-${Date.now()}}`,
    LOG_LEVEL: "silent",
  };
  return {
    at: (...names: string[]) => join(top, "legal", ...names),
    async run(...args: string[]) {
      const child = spawnSignpipe(["inbox", ...args], env);
      const code = await child.ended;
      return { code, out: child.out(), err: child.err() };
    },
  };
}

test("W2, W30, W32: list, init and test say what there is and what would become of a file, and touch nothing", async () => {
  const { at, run } = makePlace();
  const before = await run("list", "--json");
  expect(before.code).toBe(1);
  expect((JSON.parse(before.out) as { inboxes: unknown[] }).inboxes[1]).toMatchObject({ name: "legal", served: false });
  expect((await run("init", "legal")).code).toBe(0);
  expect(readdirSync(at())).toEqual([MARKER]);

  mkdirSync(at("inbox"));
  writeFileSync(at("inbox", "a.pdf"), await samplePdf());
  writeFileSync(at("inbox", "cut.pdf"), "%PDF-1.7\n");
  writeFileSync(at("inbox", "x.bak"), "");
  writeFileSync(at("inbox", "b.pdf"), await samplePdf());
  writeFileSync(at("inbox", "b.pdf.json"), JSON.stringify({ signr: {} }));
  const verdicts = async (name: string) => JSON.parse((await run("test", at("inbox", name), "--json")).out) as object;
  expect(await verdicts("a.pdf")).toMatchObject({ inbox: "legal", verdict: "taken" });
  expect(await verdicts("cut.pdf")).toMatchObject({ verdict: "waits" });
  expect(await verdicts("x.bak")).toMatchObject({
    verdict: "ignored",
    rulings: [{ says: "the inbox's own pattern *.bak hits it" }],
  });
  const failing = await run("test", at("inbox", "b.pdf"));
  expect(failing.code).toBe(2);
  expect(failing.out).toContain("signr");
  expect(failing.out).not.toContain(SIGNER.email);
  expect(readdirSync(at("inbox"))).toHaveLength(5);
});

test("W3: a sweep takes what lies there, in every inbox, and ends", async () => {
  const { at, run } = makePlace();
  await run("init", "legal");
  mkdirSync(at("inbox"));
  writeFileSync(at("inbox", "a.pdf"), await samplePdf());
  const swept = await run("sweep");
  expect(swept.out).toContain("legal: 1 taken");
  expect(swept.code).toBe(0);
  expect(readdirSync(at("inbox"))).toEqual([]);
  expect(existsSync(at("status", "a.pdf.status.json"))).toBe(true);
});
