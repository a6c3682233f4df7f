import fs, { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { InboxConfig, InboxRoot } from "../../src/producers/inbox/config.ts";
import { MARKER } from "../../src/producers/inbox/presence.ts";
import { createPurge } from "../../src/producers/inbox/purge.ts";
import type { Route } from "../../src/producers/inbox/route.ts";
import { type House, readJson, samplePdf, SIGNER as SOMEBODY, startHouse } from "../helpers/house.ts";
import { makePdf, MANIFEST, SIGNER, startInboxHouse } from "../integration/inbox-house.ts";

const ROUTE: Route = {
  levels: [
    { word: "tenant", values: ["acme", "other"] },
    { word: "profile", values: ["long", "short"] },
  ],
  onlyFolders: false,
};

/** An inbox called legal whose files lie in folders of a tenant and a profile. */
function startRouted({ root = {}, config = {} }: { root?: Partial<InboxRoot>; config?: InboxConfig } = {}) {
  const house = startInboxHouse({ config: { reportMs: 2_000, ...config } });
  const dir = house.at("legal");
  mkdirSync(dir);
  writeFileSync(join(dir, MARKER), "");
  const own = { name: "legal", dir, route: ROUTE, ...root };
  house.reopen({ root: own });
  return {
    ...house,
    root: own,
    at: (...names: string[]) => join(dir, ...names),
    drop: (files: Parameters<typeof house.drop>[0]) => house.put("legal/inbox", files),
    async take(files: Parameters<typeof house.drop>[0]) {
      await house.put("legal/inbox", files);
      await house.pass(1_000, 8);
    },
    status: (name: string) => house.json("legal", "status", `${name}.status.json`),
    tree: (...names: string[]) => house.tree("legal", ...names),
    again: (more: Partial<InboxRoot> = {}) => house.restart({ root: { ...own, ...more } }),
  };
}

test("W26: the folders that lead to a file say whose it is and how it is signed, and stay when it is taken", async () => {
  const house = startRouted();
  await house.take({ acme: { long: { "a.pdf": makePdf("a"), "a.pdf.json": MANIFEST } }, other: { short: {} } });
  expect(house.only()).toMatchObject({ tenant: "acme", profile: "long", inbox: "legal" });
  expect(house.only().documents[0]?.name).toBe("a.pdf");
  expect(readdirSync(house.at("inbox", "acme", "long"))).toEqual([]);
  expect(existsSync(house.at("inbox", "other", "short"))).toBe(true);
  expect(await house.status("acme/long/a.pdf")).toMatchObject({ file: "acme/long/a.pdf", state: "queued" });
});

test("W26, W27: below the last folder a dropped folder is one request, claimed as a whole", async () => {
  const house = startRouted();
  await house.take({
    acme: { short: { loan: { "1.pdf": makePdf("1"), "2.pdf": makePdf("2"), "request.json": MANIFEST } } },
  });
  expect(house.only()).toMatchObject({ tenant: "acme", profile: "short" });
  expect(house.only().documents.map(({ name }) => name)).toEqual(["1.pdf", "2.pdf"]);
  expect(readdirSync(house.at("inbox", "acme", "short"))).toEqual([]);
});

test("W26: a folder that is not known is told of in the folder itself, and as soon as it is, nothing is told any more", async () => {
  const house = startRouted();
  const files = { acme: { medium: { "a.pdf": makePdf("a"), "a.pdf.json": MANIFEST } } };
  await house.take(files);
  await house.pass(1_000, 3);
  expect(house.pipeline.submissions).toEqual([]);
  const note = readFileSync(house.at("inbox", "acme", "medium", "_ERROR.txt"), "utf8");
  expect(note).toBe(
    'signpipe cannot take what is named here. This note goes by itself once that is mended.\n\nmedium: "medium" is not the name of a known profile: there are "long", "short". What is in it stays there; move it to the right folder, or have the operator set this one up.\n',
  );
  expect(await house.status("acme/medium")).toMatchObject({ state: "unusable", failure: { code: "unknown-folder" } });

  const levels = [ROUTE.levels[0], { word: "profile", values: ["medium"] }] as Route["levels"];
  await house.again({ route: { levels, onlyFolders: false } });
  await house.pass(1_000, 9);
  expect(house.only()).toMatchObject({ tenant: "acme", profile: "medium" });
  expect(existsSync(house.at("inbox", "acme", "medium", "_ERROR.txt"))).toBe(false);
});

test("W26: what lies too high is told of where it lies, and touches nobody's files", async () => {
  const house = startRouted();
  await house.take({
    "x.pdf": makePdf("x"),
    "x.pdf.json": MANIFEST,
    acme: { "y.pdf": makePdf("y"), long: { "a.pdf": makePdf("a"), "a.pdf.json": MANIFEST } },
  });
  await house.pass(1_000, 3);
  expect(house.only().documents[0]?.name).toBe("a.pdf");
  expect(readFileSync(house.at("inbox", "_ERROR.txt"), "utf8")).toContain("x.pdf: Files are taken in this inbox from");
  expect(readFileSync(house.at("inbox", "acme", "_ERROR.txt"), "utf8")).toMatch(
    /^y\.pdf: .*\{tenant\}\/\{profile\}\//m,
  );
  expect(await house.status("acme/y.pdf")).toMatchObject({ failure: { code: "misplaced" } });
  expect(house.inbox().status().unusable).toBe(3);
  rmSync(house.at("inbox", "acme", "y.pdf"));
  await house.pass(1_000, 3);
  expect(existsSync(house.at("inbox", "acme", "_ERROR.txt"))).toBe(false);
  expect(existsSync(house.at("status", "acme", "y.pdf.status.json"))).toBe(false);
});

test("W24: somebody's own file with the name of a note is neither replaced nor removed", async () => {
  const house = startRouted();
  const own = house.at("inbox", "acme", "medium", "_ERROR.txt");
  await house.take({ acme: { medium: { "_ERROR.txt": "kept", "a.pdf": makePdf("a"), "a.pdf.json": MANIFEST } } });
  await house.pass(1_000, 3);
  expect(readFileSync(own, "utf8")).toBe("kept");
  expect(await house.status("acme/medium")).toMatchObject({ state: "unusable" });
  rmSync(house.at("inbox", "acme", "medium", "a.pdf"));
  rmSync(house.at("inbox", "acme", "medium", "a.pdf.json"));
  await house.pass(1_000, 3);
  expect(readFileSync(own, "utf8")).toBe("kept");

  const loan = { "_ERROR.txt": "kept", "1.pdf": makePdf("1"), "request.json": MANIFEST };
  await house.take({ acme: { short: { loan } } });
  const { id } = house.only();
  await house.put(`signed/${id}`, { "evidence.json": "{}" });
  house.pipeline.move(id, { phase: "done", facts: { signed: [] } });
  await house.pass();
  expect(readFileSync(house.at("archive", "acme", "short", id, "_ERROR.txt"), "utf8")).toBe("kept");
});

test("W26: where only folders are taken, a single file is told of; one level more makes no request either", async () => {
  const house = startRouted({ root: { route: { ...ROUTE, onlyFolders: true } } });
  await house.take({ acme: { long: { "a.pdf": makePdf("a"), "a.pdf.json": MANIFEST } } });
  await house.pass(1_000, 3);
  expect(await house.status("acme/long/a.pdf")).toMatchObject({ failure: { code: "misplaced" } });
  await house.take({ acme: { short: { deep: { deeper: { "b.pdf": makePdf("b") }, "request.json": MANIFEST } } } });
  await house.pass(60_000, 2);
  expect(house.pipeline.submissions).toEqual([]);
  expect((await house.json("legal", "failed", "acme", "short", "deep.error.json"))["code"]).toBe(
    "folder-with-other-files",
  );
});

test("W26: a manifest that contradicts its folder comes back, and never goes to another account", async () => {
  const house = startRouted();
  const json = (more: object) => JSON.stringify({ signer: SIGNER, ...more });
  await house.take({
    acme: {
      long: {
        "a.pdf": makePdf("a"),
        "a.pdf.json": json({ tenant: "other" }),
        "b.pdf": makePdf("b"),
        "b.pdf.json": json({ profile: "short" }),
        "c.pdf": makePdf("c"),
        "c.pdf.json": json({ tenant: "acme", profile: "long" }),
      },
    },
  });
  expect(house.only().documents[0]?.name).toBe("c.pdf");
  const failed = (name: string) => readFileSync(house.at("failed", "acme", "long", `${name}.error.txt`), "utf8");
  expect(failed("a.pdf")).toContain("tenant must be left out");
  expect(failed("b.pdf")).toContain('profile must be left out, or be "long": so the folder says');
});

test("W26: the nearest defaults.json speaks for a PDF that comes alone", async () => {
  const house = startRouted();
  const from = (email: string) => JSON.stringify({ signer: { ...SIGNER, email } });
  await house.take({
    "defaults.json": from("top@example.com"),
    acme: {
      long: { "defaults.json": from("near@example.com"), "a.pdf": makePdf("a") },
      short: { "b.pdf": makePdf("b") },
    },
  });
  const asked = house.pipeline.submissions.map(({ documents, signer }) => [documents[0]?.name, signer.email]);
  expect(asked.sort()).toEqual([
    ["a.pdf", "near@example.com"],
    ["b.pdf", "top@example.com"],
  ]);
});

test("W26: what was taken from a folder that is not known any more comes back, instead of going to another account", async () => {
  const house = startRouted();
  house.pipeline.goAway();
  await house.take({ acme: { long: { "a.pdf": makePdf("a"), "a.pdf.json": MANIFEST } } });
  house.pipeline.goAway(() => new Error("away"));
  await house.drop({ other: { long: { "b.pdf": makePdf("b"), "b.pdf.json": MANIFEST } } });
  await house.pass(1_000, 8);
  expect(house.pipeline.submissions).toHaveLength(1);
  house.pipeline.goAway();
  await house.inbox().stop();
  const levels = [{ word: "tenant", values: ["acme"] }, ROUTE.levels[1]] as Route["levels"];
  await house.again({ route: { levels, onlyFolders: false } });
  await house.pass(1_000, 3);
  expect(house.pipeline.submissions).toHaveLength(1);
  expect((await house.json("legal", "failed", "other", "long", "b.pdf.error.json"))["code"]).toBe("unknown-folder");
});

test("W28: what comes back lies under the folders that it came from, and names of two tenants do not meet", async () => {
  const house = startRouted();
  const bad = { "x.pdf": "no PDF at all", "x.pdf.json": MANIFEST };
  await house.take({ acme: { long: bad }, other: { long: bad } });
  expect((await house.tree("failed")).filter((name) => !name.includes(".error."))).toEqual([
    "acme/long/x.pdf",
    "acme/long/x.pdf.json",
    "other/long/x.pdf",
    "other/long/x.pdf.json",
  ]);
  expect(await house.tree("failed")).toContain("acme/long/x.pdf.error.txt");

  await house.take({ acme: { long: { "a.pdf": makePdf("a"), "a.pdf.json": MANIFEST } } });
  const { id } = house.only();
  house.pipeline.move(id, { phase: "failed", failure: { code: "boom", message: "No." } as never });
  await house.pass();
  expect(await house.tree("failed")).toContain("acme/long/a.pdf");
  expect(await house.status("acme/long/a.pdf")).toMatchObject({ state: "failed", now_at: "failed/acme/long/a.pdf" });
});

test("W28: names as long as a name can be are told of below their folders", async () => {
  const house = startRouted();
  const long = `${"ñ".repeat(125)}.pdf`;
  await house.take({ acme: { long: { [long]: "no PDF", [`${"x".repeat(251)}.pdf`]: "no PDF", "d.e": "x" } } });
  const notes = (await house.tree("failed", "acme", "long")).filter((name) => name.endsWith(".error.txt"));
  expect(notes.every((name) => Buffer.byteLength(name) <= 255)).toBe(true);
  expect(notes).toHaveLength(2);
});

test("W34: no more of a tenant are under way than was set, whoever came first; the others are not kept waiting", async () => {
  const house = startRouted({ config: { inFlightPerTenant: 1 } });
  const two = (name: string) => ({
    [`${name}1.pdf`]: makePdf(`${name}1`),
    [`${name}1.pdf.json`]: MANIFEST,
    [`${name}2.pdf`]: makePdf(`${name}2`),
    [`${name}2.pdf.json`]: MANIFEST,
  });
  await house.take({ acme: { long: two("a") }, other: { long: two("b") } });
  const tenants = () => house.pipeline.submissions.map(({ tenant }) => tenant).sort();
  expect(tenants()).toEqual(["acme", "other"]);
  expect(house.inbox().status().waiting).toBe(4);
  // Whoever takes it over counts what is under way.
  await house.again();
  await house.pass(1_000, 8);
  expect(tenants()).toEqual(["acme", "other"]);
  const first = house.pipeline.submissions.find(({ tenant }) => tenant === "acme");
  house.pipeline.move(first?.id ?? "", { phase: "refused" });
  await house.pass(1_000, 8);
  expect(tenants()).toEqual(["acme", "acme", "other"]);
});

test("W20, W26: a folder that cannot be listed keeps nobody else waiting, forgets nothing, and goes on when it can", async () => {
  const house = startRouted({ config: { settleMs: 3_000 } });
  await house.drop({ other: { long: { "b.pdf": makePdf("b"), "b.pdf.json": MANIFEST } } });
  await house.pass(1_000, 1);
  const { opendirSync } = fs;
  fs.opendirSync = (path, ...more) => {
    if (String(path).endsWith("inbox/other/long")) throw Object.assign(new Error("no"), { code: "EACCES" });
    return opendirSync(path, ...more);
  };
  syncBuiltinESMExports();
  try {
    await house.drop({ acme: { long: { "a.pdf": makePdf("a"), "a.pdf.json": MANIFEST } } });
    await house.pass(1_000, 9);
    // Seen before, it is found by its name, however the listing is.
    const taken = () => house.pipeline.submissions.map(({ documents }) => documents[0]?.name).sort();
    expect(taken()).toEqual(["a.pdf", "b.pdf"]);
    await house.drop({ other: { long: { "c.pdf": makePdf("c"), "c.pdf.json": MANIFEST } } });
    await house.pass(1_000, 9);
    expect(taken()).toEqual(["a.pdf", "b.pdf"]);
    expect(await house.status("other/long")).toMatchObject({ state: "unusable", failure: { code: "file-busy" } });
    fs.opendirSync = opendirSync;
    syncBuiltinESMExports();
    await house.pass(1_000, 9);
    expect(taken()).toEqual(["a.pdf", "b.pdf", "c.pdf"]);
    expect(existsSync(house.at("status", "other", "long.status.json"))).toBe(false);
  } finally {
    fs.opendirSync = opendirSync;
    syncBuiltinESMExports();
  }
});

test("W36: a purge removes what lies in the folders of a route, and never these", async () => {
  const house = startRouted();
  await house.put("legal/failed", { acme: { long: { "old.pdf": "x" } } });
  const folders = { archive: house.at("failed"), failed: house.at("failed"), duplicates: house.at("failed") };
  const now = () => Date.now() + 2 * 86_400_000;
  const purge = createPurge({ folders, depth: 2, purgeMs: { failed: 86_400_000 }, now });
  expect(await purge()).toBe(1);
  expect(existsSync(house.at("failed", "acme", "long"))).toBe(true);
});

function bearerOf({ keyRing }: House) {
  return { headers: { authorization: `Bearer ${keyRing.apiKeys[0]?.secret ?? ""}` } };
}

test("W26, W28: a signed file of a route comes back in the folders that it came from; events tell of what is dropped there", async () => {
  const top = mkdtempSync(join(tmpdir(), "signpipe-share-"));
  onTestFinished(() => rmSync(top, { recursive: true, force: true }));
  const at = (...names: string[]) => join(top, "legal", ...names);
  mkdirSync(at("inbox", "acme", "videoid"), { recursive: true });
  writeFileSync(at(MARKER), "");
  const entry = {
    name: "legal",
    path: "legal",
    settle: "200ms",
    sweep: "1m",
    watch: "native",
    route: "acme/{workflow}",
    defaults: { signer: SOMEBODY },
  };
  writeFileSync(join(top, "inboxes.json"), JSON.stringify([entry]));
  const house = await startHouse({
    settings: { INBOXES_FILE: join(top, "inboxes.json") },
    simulator: { humans: { signer: "auto", signerDelayMs: 0 } },
  });
  await house.app.startInbox();
  const scrape = async () => (await fetch(`${house.api}/metrics`, bearerOf(house))).text();
  await expect.poll(scrape, { timeout: 15_000 }).toMatch(/root="legal",figure="lastScanMs"\} [1-9]/);
  // By an event: the next listing is a minute away.
  writeFileSync(at("inbox", "acme", "videoid", "a.pdf"), await samplePdf());
  const path = at("status", "acme", "videoid", "a.pdf.status.json");
  const status = () => (existsSync(path) ? readJson(path) : {});
  await expect.poll(() => status()["request_id"], { timeout: 15_000 }).toMatch(/^req-/);
  const id = status()["request_id"] as string;
  await house.waits(id, "approval");
  await house.call("POST", `/v1/requests/${id}/approve`);
  await house.waits(id, "code");
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.reaches(id, "cleanup", "done");
  await expect.poll(() => status()["state"], { timeout: 15_000 }).toBe("done");
  expect(status()["signed"]).toEqual([
    `signed/acme/videoid/${id}/a.pdf.signed.pdf`,
    `signed/acme/videoid/${id}/contract.pdf`,
  ]);
  expect(existsSync(at("signed", "acme", "videoid", id, "a.pdf.signed.pdf"))).toBe(true);
  await expect.poll(() => existsSync(at("archive", "acme", "videoid", id, "a.pdf")), { timeout: 15_000 }).toBe(true);
  expect(status()["now_at"]).toBe(`archive/acme/videoid/${id}`);
});
