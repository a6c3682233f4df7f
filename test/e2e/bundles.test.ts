import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { runCommand } from "../helpers/cli-house.ts";
import { readJson, samplePdf, SIGNER, startHouse, type House } from "../helpers/house.ts";
import { pdfsig } from "../helpers/pdfsig.ts";

interface Status {
  request_id?: string;
  state?: string;
  together?: number;
  signed?: string[];
  now_at?: string;
  waiting?: { for: string; whose: string };
}

/** A folder with an inbox in it: the program's own, or one of several. */
function people(dir: string) {
  const status = (name: string): Status => {
    const path = join(dir, "status", `${name}.status.json`);
    return existsSync(path) ? readJson(path) : {};
  };
  return {
    dir,
    status,
    async drop(name: string, manifest: object | null = { signer: SIGNER }): Promise<void> {
      if (manifest) writeFileSync(join(dir, "inbox", `${name}.json`), JSON.stringify(manifest));
      writeFileSync(join(dir, `.${name}`), await samplePdf());
      renameSync(join(dir, `.${name}`), join(dir, "inbox", name));
    },
    /** The request that each of these has become. */
    async taken(names: string[]): Promise<string[]> {
      await expect
        .poll(() => names.filter((name) => status(name).request_id === undefined), { timeout: 20_000 })
        .toEqual([]);
      return names.map((name) => status(name).request_id ?? "");
    },
    async over(names: string[]): Promise<void> {
      await expect.poll(() => names.filter((name) => status(name).state !== "done"), { timeout: 20_000 }).toEqual([]);
    },
    /** The results of a file, each PDF of which a foreign program finds validly signed. */
    signedAs(name: string): string[] {
      const { signed = [] } = status(name);
      const paths = signed.map((path) => join(dir, path));
      for (const path of paths.filter((one) => one.endsWith(".signed.pdf"))) {
        expect(pdfsig(path) ?? "Signature is Valid").toContain("Signature is Valid");
      }
      return signed;
    },
  };
}

async function identify(house: House, id: string): Promise<void> {
  await house.waits(id, "identification");
  house.simulator.identify((await house.app.store.get(id)).facts["requestPk"] as number, "complete");
  await house.waits(id, "approval");
}

async function approve(house: House, id: string): Promise<void> {
  await house.waits(id, "approval");
  await house.call("POST", `/v1/requests/${id}/approve`);
}

async function giveCode(house: House, id: string): Promise<void> {
  await house.waits(id, "code");
  expect((await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) })).status).toBe(202);
  await house.reaches(id, "cleanup", "done");
}

const effects = (house: House) => ["create", "approve", "otp", "sign"].map(house.effects);
const named = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `deed ${from + i}.pdf`);

test("seven files that come over time are one identification, one officer's look, one code, and seven signed PDFs", async () => {
  const house = await startHouse({ settings: { INBOX_BUNDLE_MS: "1500" } });
  await house.app.startInbox();
  const inbox = people(house.dataDir);
  for (const name of named(1, 3)) await inbox.drop(name);
  const [id = "", ...more] = await inbox.taken(named(1, 3));
  expect(new Set(more)).toEqual(new Set([id]));
  await house.waits(id, "identification");
  expect((await house.call("GET", `/v1/requests/${id}`)).body).toMatchObject({ bundle: { is_open: true, most: 10 } });
  for (const name of named(4, 6)) await inbox.drop(name);
  expect(new Set(await inbox.taken(named(4, 6)))).toEqual(new Set([id]));
  await identify(house, id);
  await inbox.drop("deed 7.pdf");
  expect(await inbox.taken(["deed 7.pdf"])).toEqual([id]);
  await approve(house, id);
  await giveCode(house, id);
  await inbox.over(named(1, 7));
  expect((await house.call("GET", `/v1/requests/${id}`)).body).toMatchObject({ bundle: { is_open: false } });

  expect(effects(house)).toEqual([1, 1, 1, 1]);
  for (const name of named(1, 7)) {
    expect(inbox.status(name)).toMatchObject({ request_id: id, together: 7 });
    expect(inbox.signedAs(name)).toEqual([`signed/${id}/${name}.signed.pdf`, `signed/${id}/contract.pdf`]);
    // The status says it first, then it is there.
    const archived = () => readdirSync(join(house.dataDir, inbox.status(name).now_at ?? ""));
    await expect.poll(archived, { timeout: 10_000 }).toEqual([name]);
  }
  const evidence = readJson(join(house.dataDir, "signed", id, "evidence.json"));
  expect((evidence["documents"] as { name: string }[]).map(({ name }) => name).sort()).toEqual(named(1, 7));
  const notes = (evidence["history"] as { note?: string }[]).flatMap(({ note = "" }) =>
    /joined/.test(note) ? [note] : [],
  );
  expect(notes).toEqual(named(2, 7).map((_, i) => `document ${i + 2} joined`));
  await expect
    .poll(() => readdirSync(join(house.dataDir, ".work")).filter((name) => /^req-/.test(name)), { timeout: 10_000 })
    .toEqual([]);

  const env = { DATA_DIR: house.dataDir, REDIS_PREFIX: house.app.keys.prefix };
  const verified = async () => {
    const { out } = await runCommand(["verify", id, "--json"], { env });
    return (JSON.parse(out) as { requests: { findings: { code: string }[]; notes: string[] }[] }).requests[0];
  };
  const flaws = async () => (await verified())?.findings.map(({ code }) => code);
  expect(await verified()).toMatchObject({ id, findings: [], notes: [] });
  // What of the fourth file is archived is looked for where that file is, and not another one's: gone is not changed.
  writeFileSync(join(house.dataDir, inbox.status("deed 4.pdf").now_at ?? "", "deed 4.pdf"), "another one");
  expect(await flaws()).toEqual(["document-changed"]);
  rmSync(join(house.dataDir, inbox.status("deed 4.pdf").now_at ?? ""), { recursive: true });
  expect(await flaws()).toEqual([]);

  // Once its code was out, the request was closed: what comes now is another one.
  await inbox.drop("deed 8.pdf");
  const [next = ""] = await inbox.taken(["deed 8.pdf"]);
  expect(next).not.toBe(id);
});

test("a request waits for its window before anything is uploaded, says so, and is cut short when it is full", async () => {
  const house = await startHouse({
    settings: { INBOX_BUNDLE_MS: "60000" },
    simulator: { humans: { signer: "auto", signerDelayMs: 0 } },
  });
  await house.app.startInbox();
  const inbox = people(house.dataDir);
  for (const name of named(1, 9)) await inbox.drop(name);
  const [id = ""] = await inbox.taken(named(1, 9));
  await approve(house, id);
  await house.waits(id, "more documents");
  await expect
    .poll(() => inbox.status("deed 1.pdf").waiting, { timeout: 10_000 })
    .toMatchObject({ for: "more documents", whose: "sender" });
  expect(house.effects("upload")).toBe(0);
  for (const name of named(10, 13)) await inbox.drop(name);
  const ids = await inbox.taken(named(1, 13));
  await giveCode(house, id);
  const [other = "", ...rest] = [...new Set(ids)].filter((one) => one !== id);
  expect(rest).toEqual([]);
  expect(ids.filter((one) => one === id)).toHaveLength(10);
  expect(ids.filter((one) => one === other)).toHaveLength(3);
  const full = named(1, 13).filter((_, i) => ids[i] === id);
  await inbox.over(full);
  for (const name of full) expect(inbox.signedAs(name)).toHaveLength(2);
  expect(house.effects("otp")).toBe(1);
});

test("a late file after the upload has everything sent again, and only then is the code sent", async () => {
  const house = await startHouse({ settings: { INBOX_BUNDLE_MS: "1" } });
  await house.app.startInbox();
  const inbox = people(house.dataDir);
  await inbox.drop("deed 1.pdf");
  const [id = ""] = await inbox.taken(["deed 1.pdf"]);
  // The contract is not to be had yet: documents are there, and no code is out.
  house.simulator.fault({ operation: "getContract", kind: "status-before", status: 404, times: 1_000 });
  await identify(house, id);
  await approve(house, id);
  await house.waits(id, "contract");
  await inbox.drop("deed 2.pdf");
  expect(await inbox.taken(["deed 2.pdf"])).toEqual([id]);
  house.simulator.clearFaults();
  await giveCode(house, id);
  await inbox.over(named(1, 2));
  for (const name of named(1, 2)) expect(inbox.signedAs(name)).toHaveLength(2);
  expect(effects(house)).toEqual([1, 1, 1, 1]);
  expect(house.effects("upload")).toBe(3);
});

test("an inbox of its own bundles by its own rule, and brings each result to its folder", async () => {
  const top = mkdtempSync(join(tmpdir(), "signpipe-share-"));
  onTestFinished(() => rmSync(top, { recursive: true, force: true }));
  mkdirSync(join(top, "legal"));
  writeFileSync(join(top, "legal", ".signing-root"), "");
  const entry = {
    name: "legal",
    path: "legal",
    settle: "200ms",
    sweep: "200ms",
    defaults: { signer: SIGNER },
    bundle: { window: "1s", most: 2 },
    results: "{name}",
  };
  writeFileSync(join(top, "inboxes.json"), JSON.stringify([entry]));
  const house = await startHouse({
    settings: { INBOXES_FILE: join(top, "inboxes.json") },
    simulator: { humans: { signer: "auto", signerDelayMs: 0 } },
  });
  await house.app.startInbox();
  const inbox = people(join(top, "legal"));
  await expect.poll(() => existsSync(join(inbox.dir, "inbox"))).toBe(true);
  for (const name of named(1, 3)) await inbox.drop(name, null);
  const ids = await inbox.taken(named(1, 3));
  expect(new Set(ids).size).toBe(2);
  for (const id of new Set(ids)) {
    await approve(house, id);
    await giveCode(house, id);
  }
  await inbox.over(named(1, 3));
  for (const name of named(1, 3)) {
    const folder = `signed/${name.replace(".pdf", "")}`;
    expect(inbox.signedAs(name)).toEqual([`${folder}/${name}.signed.pdf`, `${folder}/contract.pdf`]);
    expect(readdirSync(join(inbox.dir, folder)).sort()).toEqual(
      [`${name}.signed.pdf`, "contract.pdf", "evidence.json"].sort(),
    );
  }
  await expect
    .poll(() => readdirSync(join(inbox.dir, ".work")).filter((name) => /^req-/.test(name)), { timeout: 10_000 })
    .toEqual([]);
});
