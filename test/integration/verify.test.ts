import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, afterAll, describe, expect, onTestFinished, test } from "vitest";
import { auditLines } from "../../src/core/audit.ts";
import type { JournalLine } from "../../src/core/journal.ts";
import { toRequestId } from "../../src/core/request.ts";
import { runCommand } from "../helpers/cli-house.ts";
import { startHouse } from "../helpers/house.ts";

const AUTO = { settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };

/** A DATA_DIR as it is when two requests are done and one waits, without its Redis. */
let original: string;
let done: string;
let open: string;
beforeAll(() => {
  original = mkdtempSync(join(tmpdir(), "signpipe-verify-"));
});
afterAll(() => rmSync(original, { recursive: true, force: true }));

test("what a healthy pipeline leaves behind is all well", { timeout: 30_000 }, async () => {
  const house = await startHouse(AUTO);
  const finish = async (more: object) => {
    const id = await house.submit(more);
    await house.waits(id, "code");
    await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
    await house.reaches(id, "cleanup", "done");
    return id;
  };
  done = await finish({ reference: "loan-1" });
  await finish({});
  open = await house.submit();
  await house.waits(open, "code");
  await house.app.close();
  cpSync(house.dataDir, original, { recursive: true });
  const { exitCode, out } = await runCommand(["verify", "--all"], { env: { DATA_DIR: original } });
  expect([exitCode, out]).toEqual([0, expect.stringMatching(/All is well: 3 requests/)]);
  expect(out.match(/^ok /gm)).toHaveLength(3);
  expect(out).toMatch(new RegExp(`ok {4}${done} {2}done {2}1 signed; timestamp \\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z`));
});

/** A copy to be spoilt. */
function copy(): { dir: string; in: (...path: string[]) => string; env: Record<string, string> } {
  const dir = mkdtempSync(join(tmpdir(), "signpipe-verify-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  cpSync(original, dir, { recursive: true });
  return { dir, in: (...path) => join(dir, ...path), env: { DATA_DIR: dir } };
}

async function findings(env: Record<string, string>, id: string) {
  const { exitCode, out } = await runCommand(["verify", id, "--json"], { env });
  const { requests } = JSON.parse(out) as { requests: { findings: { code: string }[] }[] };
  return [exitCode, ...requests.flatMap((one) => one.findings.map(({ code }) => code))];
}

const signedFile = (at: ReturnType<typeof copy>) => at.in("signed", done, "lease.pdf.signed.pdf");

function change(path: string, from: string, to: string): void {
  const text = readFileSync(path, "latin1");
  expect(text).toContain(from);
  writeFileSync(path, text.replace(from, to), "latin1");
}

describe("it is found out that", () => {
  test("a byte of a signed file was changed, or the file is gone", async () => {
    const at = copy();
    change(signedFile(at), "%PDF-", "%PDG-");
    expect(await findings(at.env, done)).toEqual([1, "signed-file-changed"]);
    rmSync(signedFile(at));
    expect(await findings(at.env, done)).toEqual([1, "signed-file-changed"]);
  });
  test("the contract was changed", async () => {
    const at = copy();
    writeFileSync(at.in("signed", done, "contract.pdf"), "other");
    expect(await findings(at.env, done)).toEqual([1, "result-damaged"]);
  });
  test("the evidence is gone, is of another shape, or says something else than the journal", async () => {
    const at = copy();
    const path = at.in("signed", done, "evidence.json");
    change(path, '"by": "policy:auto"', '"by": "api:somebody"');
    expect(await findings(at.env, done)).toEqual([1, "evidence-differs"]);
    change(path, '"written_at"', '"written"');
    expect(await findings(at.env, done)).toEqual([1, "evidence-differs"]);
    rmSync(path);
    expect(await findings(at.env, done)).toEqual([1, "evidence-missing"]);
  });
  test("a document that is to be signed was changed, or is gone", async () => {
    const at = copy();
    const path = at.in(".work", open, readdirSync(at.in(".work", open)).find((name) => name.endsWith(".pdf")) ?? "");
    change(path, "%PDF-", "%PDG-");
    expect(await findings(at.env, open)).toEqual([1, "document-changed"]);
    rmSync(path);
    expect(await findings(at.env, open)).toEqual([1, "document-gone"]);
  });
  test("an original in the archive was changed", async () => {
    const at = copy();
    mkdirSync(at.in("archive", done), { recursive: true });
    const name = readdirSync(at.in(".work", done)).find((one) => one.endsWith(".pdf")) ?? "";
    renameSync(at.in(".work", done, name), at.in("archive", done, "lease.pdf"));
    expect(await findings(at.env, done)).toEqual([0]);
    change(at.in("archive", done, "lease.pdf"), "%PDF-", "%PDG-");
    expect(await findings(at.env, done)).toEqual([1, "document-changed"]);
  });
  test("a line of the journal was changed", async () => {
    const at = copy();
    const file = readdirSync(at.in("journal"))[0] ?? "";
    change(at.in("journal", file), '"note":"otp"', '"note":"oto"');
    const { exitCode, out } = await runCommand(["verify", "--all"], { env: at.env });
    expect([exitCode, out]).toEqual([1, expect.stringMatching(/^FAIL {2}journal {2}journal-changed: .*line \d+$/m)]);
  });
  test("there are signed files of a request that the journal does not know", async () => {
    const at = copy();
    renameSync(at.in("journal"), at.in("journal-away"));
    mkdirSync(at.in("journal"));
    expect(await findings(at.env, done)).toEqual([1, "not-in-journal"]);
  });
});

test("without the master key all but the chain is checked, and that is said; and nothing is made", async () => {
  const at = copy();
  rmSync(at.in("keys"), { recursive: true });
  const before = readdirSync(at.dir);
  const { exitCode, out, err } = await runCommand(["verify", "--all"], { env: at.env });
  expect([exitCode, err]).toEqual([0, expect.stringContaining("needs MASTER_KEY")]);
  expect(out).toContain("All is well: 3 requests, and files");
  expect(readdirSync(at.dir)).toEqual(before);
});

test("a request is named by the beginning of its id, or by its reference", async () => {
  const { env } = copy();
  expect((await runCommand(["verify", "loan-1"], { env })).out).toContain(done);
  expect((await runCommand(["verify", done.slice(4, 16)], { env })).out).toContain(done);
  expect((await runCommand(["verify", "nobody"], { env })).err).toContain('No request here is "nobody"');
  expect((await runCommand(["verify"], { env })).err).toContain("--all");
  expect(
    (await runCommand(["verify", done], { env: { DATA_DIR: join(env["DATA_DIR"] ?? "", "none") } })).exitCode,
  ).toBe(1);
});

describe("the journal's lines are doubted", () => {
  const line = (version: number, more: Partial<JournalLine>): JournalLine => ({
    ...{ atMs: version, request: toRequestId(new Uint8Array(16)), version, mark: `m${version}`, event: "succeed" },
    ...{ stage: "any", phase: "queued" as const },
    ...more,
  });
  const intend = (version: number, note: string) => line(version, { event: "intend", note });
  const gives = (version: number, facts: object, more: Partial<JournalLine> = {}) =>
    line(version, { patch: { facts }, ...more });
  const codes = (...lines: JournalLine[]) => auditLines(lines).map(({ code }) => code);

  test.each([
    ["create", { requestPk: 5 }],
    ["approve", { approvedMs: 1, approvedBy: "policy:auto" }],
    ["upload", { uploaded: [] }],
    ["otp", { otp: { sentMs: 1, count: 1 } }],
    ["sign", { signedMs: 1 }],
    ["delete", { removedMs: 1 }],
  ])("where the result of %s has no intent before it, or two results share one", (effect, facts) => {
    expect(codes(intend(1, effect), gives(2, facts))).toEqual([]);
    expect(codes(gives(1, facts), intend(2, effect))).toEqual(["effect-without-intent"]);
    expect(codes(intend(1, effect), gives(2, facts), gives(3, facts))).toEqual(["effect-without-intent"]);
    expect(codes(intend(1, effect), gives(2, facts), intend(3, effect), gives(4, facts))).toEqual([]);
    expect(codes(intend(1, "other"), gives(2, facts))).toEqual(["effect-without-intent"]);
    const removed = Object.fromEntries(Object.keys(facts).map((name) => [name, null]));
    expect(codes(gives(1, removed))).toEqual([]);
  });
  test("where an approval has no decision of that very person", () => {
    const approved = gives(3, { approvedMs: 1, approvedBy: "api:ana" });
    const decided = (by: string) => gives(1, { decision: { kind: "approve", by, atMs: 1 } });
    expect(codes(decided("api:ana"), intend(2, "approve"), approved)).toEqual([]);
    expect(codes(decided("api:bea"), intend(2, "approve"), approved)).toEqual(["decision-missing"]);
  });
});
