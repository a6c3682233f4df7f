import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, inject, onTestFinished, test } from "vitest";
import { createLedger, LEDGER } from "../../src/producers/inbox/ledger.ts";
import { printOf, toMark } from "../../src/producers/inbox/look.ts";
import { MARKER } from "../../src/producers/inbox/presence.ts";
import { runCommand } from "../helpers/cli-house.ts";
import { makePdf } from "../integration/inbox-house.ts";
import { readJson, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";

interface Told {
  inbox: string;
  verdict: string;
  decided_by: string;
  rulings: { rule: string; says: string }[];
}

/** An inbox called legal, and the command line beside a signpipe that may run. */
function makeShare(more: object = {}) {
  const top = mkdtempSync(join(tmpdir(), "signpipe-share-"));
  onTestFinished(() => rmSync(top, { recursive: true, force: true }));
  const file = join(top, "inboxes.json");
  const entry = { name: "legal", path: "legal", settle: "200ms", folder_settle: "300ms", sweep: "200ms", ...more };
  writeFileSync(file, JSON.stringify([entry]));
  const at = (...names: string[]) => join(top, "legal", ...names);
  mkdirSync(at("inbox"), { recursive: true });
  writeFileSync(at(MARKER), "");
  let env: Record<string, string> = { DATA_DIR: join(top, "data"), INBOXES_FILE: file };
  return {
    top,
    file,
    at,
    use: (more: Record<string, string>) => (env = { ...env, ...more }),
    run: (...args: string[]) => runCommand(["inbox", ...args], { env }),
    async told(...path: string[]): Promise<Told & { exitCode: number; says: (rule: string) => string | undefined }> {
      const { exitCode, out } = await runCommand(["inbox", "test", join(...path), "--json"], { env });
      const told = JSON.parse(out) as Told;
      return { ...told, exitCode, says: (rule) => told.rulings.find((one) => one.rule === rule)?.says };
    },
  };
}

test("W26: test says which folders decide, what they say, and where the rest comes from; nobody's address is shown", async () => {
  const route = { route: "{workflow}/{profile}", route_values: { profile: ["long"] }, defaults: { signer: SIGNER } };
  const { at, told, run } = makeShare(route);
  expect((await run("init", "legal")).out).toContain("6 folders to drop into");
  expect(readdirSync(at("inbox")).sort()).toEqual(["classic", "videoid", "videoid-external"]);
  writeFileSync(at("inbox", "videoid", "long", "a.pdf"), await samplePdf());
  const good = await told(at("inbox", "videoid", "long", "a.pdf"));
  expect(good).toMatchObject({ inbox: "legal", verdict: "taken", exitCode: 0 });
  expect(good.says("defaults")).toBe(
    "workflow, profile from its folders; signer from INBOXES_FILE, where the JSON file leaves it out",
  );
  expect(good.says("complete")).toBe("its end is there");
  expect(good.says("settled")).toBe("it did not change for 0.2 s");
  expect(good.says("duplicate")).toContain("not known: no signpipe runs here");
  expect(JSON.stringify(good)).not.toContain(SIGNER.email);

  mkdirSync(at("inbox", "videoid", "short"));
  writeFileSync(at("inbox", "videoid", "short", "b.pdf"), "");
  writeFileSync(at("inbox", "c.pdf"), "");
  const wrong = await told(at("inbox", "videoid", "short", "b.pdf"));
  expect(wrong).toMatchObject({ verdict: "waits", decided_by: "route" });
  expect(wrong.says("route")).toContain('"short" is not the name of a known profile: there is "long"');
  expect((await told(at("inbox", "c.pdf"))).says("route")).toContain("{workflow}/{profile}/");
  expect(await told(at("inbox", "videoid"))).toMatchObject({ verdict: "ignored", decided_by: "route" });
  writeFileSync(at("inbox", "videoid", "long", "defaults.json"), JSON.stringify({ reference: "near" }));
  expect((await told(at("inbox", "videoid", "long", "a.pdf"))).says("defaults")).toMatch(
    /^what videoid\/long\/defaults\.json says; workflow, profile from its folders/,
  );
  expect((await run("list", "--json")).out).toContain('"waiting": 3');
});

test("W4, W7: test looks twice, and says of what still changes that it is waited for", async () => {
  const { at, told } = makeShare({ defaults: { signer: SIGNER }, settle: "500ms" });
  const path = at("inbox", "a.pdf");
  writeFileSync(path, await samplePdf());
  const timer = setInterval(() => appendFileSync(path, "\n"), 20);
  const growing = await told(path);
  clearInterval(timer);
  expect(growing).toMatchObject({ verdict: "waits", decided_by: "settled", exitCode: 0 });
  writeFileSync(path, "%PDF-1.7\nhalf of it");
  expect(await told(path)).toMatchObject({ verdict: "waits", decided_by: "complete" });
  writeFileSync(path, makePdf("locked", { encrypted: true }));
  expect(await told(path)).toMatchObject({ verdict: "fails", decided_by: "document", exitCode: 2 });
});

test("W17, W18: test says of which request a file is a duplicate, in which state that is, and what becomes of it", async () => {
  for (const [duplicates, verdict] of [
    ["set-aside", "duplicate"],
    ["accept", "taken"],
  ] as const) {
    const share = makeShare({ defaults: { signer: SIGNER }, duplicates });
    const house = await startHouse({ settings: { INBOXES_FILE: share.file } });
    const { REDIS_PREFIX } = house.app.settings;
    share.use({ DATA_DIR: house.dataDir, REDIS_URL: inject("redisUrl"), REDIS_PREFIX });
    const bytes = await samplePdf();
    writeFileSync(share.at("inbox", "a.pdf"), bytes);
    const fresh = await share.told(share.at("inbox", "a.pdf"));
    expect(fresh).toMatchObject({ verdict: "taken", decided_by: "duplicate" });
    expect(fresh.says("duplicate")).toBe("it is new: no request stands in its way");

    await house.app.startInbox();
    const status = share.at("status", "a.pdf.status.json");
    await expect.poll(() => existsSync(status) && readJson(status)["request_id"], { timeout: 15_000 }).toMatch(/^req-/);
    const id = readJson(status)["request_id"] as string;
    await house.waits(id, "identification");
    // Beside the inbox that would take it at once.
    mkdirSync(join(house.dataDir, "inbox"), { recursive: true });
    await house.app.close();
    writeFileSync(share.at("inbox", "again.pdf"), bytes);
    const again = await share.told(share.at("inbox", "again.pdf"));
    expect(again).toMatchObject({ verdict, decided_by: "duplicates", exitCode: 0 });
    expect(again.says("duplicate")).toBe(`it was handed in before: request ${id} is waiting`);
  }
});

test("W16: test says of a file of a source whether a copy of it was taken as it is", async () => {
  const { top, at, told, run } = makeShare({ mode: "copy", source: "scans", defaults: { signer: SIGNER } });
  const scans = (name: string) => join(top, "scans", name);
  mkdirSync(join(top, "scans"));
  mkdirSync(at(".work", "gate"), { recursive: true });
  writeFileSync(scans("a.pdf"), await samplePdf());
  writeFileSync(scans("b.pdf"), await samplePdf());
  const ledger = createLedger({ path: at(".work", "gate", LEDGER), now: Date.now });
  const print = printOf(toMark(statSync(scans("a.pdf"))));
  await ledger.add({ raw: "a.pdf", print, id: `req-${"0".repeat(25)}1`, sha256: "", atMs: 1 });
  expect(await told(scans("a.pdf"))).toMatchObject({ verdict: "ignored", decided_by: "ledger" });
  expect(await told(scans("b.pdf"))).toMatchObject({ verdict: "taken" });
  expect((await run("list", "--json")).out).toContain('"waiting": 1');
  appendFileSync(scans("a.pdf"), "\n");
  expect(await told(scans("a.pdf"))).toMatchObject({ verdict: "taken" });
});

test("test says of the results of a batch what it is that is done with them, and not that they wait", async () => {
  const { at, told } = makeShare();
  writeFileSync(at("inbox", "results.csv"), "batch,row\n");
  const alone = await told(at("inbox", "results.csv"));
  expect(alone).toMatchObject({ verdict: "taken", exitCode: 0 });
  expect(alone.says("results")).toContain("what failed in that is tried again");
  expect(alone.says("settled")).toBe("it did not change for 0.3 s");
  writeFileSync(at("inbox", "results.csv.json"), JSON.stringify({ signer: SIGNER, signature: { format: "cms" } }));
  expect((await told(at("inbox", "results.csv"))).says("sidecar")).toBe("results.csv.json");
});

test("list and init tell of a source, count a file with its JSON file once, and nothing of what is away", async () => {
  const { top, at, told, run } = makeShare({ mode: "copy", source: "scans" });
  rmSync(at(MARKER));
  const away = (await run("list")).out.split("\n").slice(-3, -1);
  expect(away).toEqual([
    expect.stringContaining("away: it has no .signing-root"),
    `  copies from ${join(top, "scans")}`,
  ]);
  expect(away[0]).not.toContain("waiting");
  expect((await run("init", "legal")).out).toContain("scans; it is not there now");
  mkdirSync(join(top, "scans"));
  writeFileSync(join(top, "scans", "a.pdf"), await samplePdf());
  writeFileSync(join(top, "scans", "b.pdf"), await samplePdf());
  writeFileSync(join(top, "scans", "b.pdf.json"), JSON.stringify({ signer: SIGNER }));
  expect((await told(top, "scans", "a.pdf")).says("sidecar")).toBe("none, and nothing that holds instead");
  expect((await run("init", "legal")).out).toContain("scans; nothing is changed there");
  expect((await run("list")).out).toMatch(/2 waiting, 0 in failed\n.*scans; 0 copied, which stay there/);
  const gate = at(".work", "gate");
  mkdirSync(gate, { recursive: true });
  const line = { raw: "b.pdf", print: "", id: `req-${"0".repeat(26)}`, sha256: "", atMs: 1 };
  await createLedger({ path: join(gate, LEDGER), now: () => 1 }).add(line);
  expect((await run("list")).out).toMatch(/1 waiting, 0 in failed\n.*scans; 1 copied, which stay there/);
});
