import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { MARKER } from "../../src/producers/inbox/presence.ts";
import { type House, readJson, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";
import { pdfsig } from "../helpers/pdfsig.ts";

/** A share with an inbox called legal, and the file that says so. Asked for before the house, it goes after it. */
function makeShare(more: object = {}) {
  const top = mkdtempSync(join(tmpdir(), "signpipe-share-"));
  onTestFinished(() => rmSync(top, { recursive: true, force: true }));
  const dir = join(top, "legal");
  mkdirSync(dir);
  const file = join(top, "inboxes.json");
  const entry = {
    name: "legal",
    path: "legal",
    settle: "200ms",
    sweep: "200ms",
    defaults: { signer: SIGNER },
    ...more,
  };
  writeFileSync(file, JSON.stringify([entry]));
  const at = (...names: string[]) => join(dir, ...names);
  return {
    dir,
    file,
    at,
    mark: () => writeFileSync(at(MARKER), ""),
    drop: (name: string, bytes: Uint8Array, writtenMs = Date.now()) => {
      writeFileSync(at(`.${name}`), bytes);
      utimesSync(at(`.${name}`), writtenMs / 1000, writtenMs / 1000);
      renameSync(at(`.${name}`), at("inbox", name));
    },
    status: (name: string) =>
      existsSync(at("status", `${name}.status.json`)) ? readJson(at("status", `${name}.status.json`)) : {},
  };
}
type Share = ReturnType<typeof makeShare>;

async function startWith(share: Share, settings: Record<string, string> = {}): Promise<House> {
  const house = await startHouse({
    settings: { INBOXES_FILE: share.file, ...settings },
    simulator: { humans: { signer: "auto", signerDelayMs: 0 } },
  });
  await house.app.startInbox();
  return house;
}

/** The id as which a file was taken. */
async function taken(share: Share, name: string): Promise<string> {
  await expect.poll(() => share.status(name)["request_id"], { timeout: 15_000 }).toMatch(/^req-/);
  return share.status(name)["request_id"] as string;
}

async function sign(house: House, id: string): Promise<void> {
  await house.waits(id, "approval");
  await house.call("POST", `/v1/requests/${id}/approve`);
  await house.waits(id, "code");
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.reaches(id, "cleanup", "done");
}

function health(house: House) {
  return house
    .call("GET", "/health/ready")
    .then(({ body }) => body["checks"] as Record<string, { ok: boolean; note: string }>);
}

test("W37, W28: an inbox of its own brings signed files back into its own folder, under the names that were asked for", async () => {
  const share = makeShare({ results: "{date}/{name}", folders: { signed: "firmados" } });
  share.mark();
  const house = await startWith(share);
  await expect.poll(() => existsSync(share.at("inbox"))).toBe(true);
  const bytes = await samplePdf();
  share.drop("lease.pdf", bytes);
  const id = await taken(share, "lease.pdf");
  // Documents lie where workers have them, whatever becomes of the share.
  expect(readFileSync(join(house.dataDir, ".work", id, "1.pdf")).equals(bytes)).toBe(true);
  expect((await house.app.store.get(id)).facts["inbox"]).toBe("legal");
  await sign(house, id);

  await expect.poll(() => share.status("lease.pdf")["state"], { timeout: 15_000 }).toBe("done");
  const [signed = ""] = share.status("lease.pdf")["signed"] as string[];
  expect(signed).toMatch(/^firmados\/\d{4}-\d\d-\d\d\/lease\/lease\.pdf\.signed\.pdf$/);
  expect(
    readFileSync(share.at(signed)).equals(readFileSync(join(house.dataDir, "signed", id, "lease.pdf.signed.pdf"))),
  ).toBe(true);
  expect(pdfsig(share.at(signed)) ?? "Signature is Valid").toContain("Signature is Valid");
  expect(readdirSync(join(share.at(signed), "..")).sort()).toContain("evidence.json");
  await expect
    .poll(() => readdirSync(share.at(".work")).filter((name) => name !== "gate"), { timeout: 15_000 })
    .toEqual([]);
  expect(readFileSync(share.at("archive", id, "lease.pdf")).equals(bytes)).toBe(true);
  expect(existsSync(join(house.dataDir, ".work", id))).toBe(false);
  expect(readdirSync(join(house.dataDir, "archive"))).toEqual([]);
});

test("W32: a share that goes away is an alarm and no empty inbox; signing goes on, and the result comes when it is back", async () => {
  const share = makeShare();
  share.mark();
  const house = await startWith(share);
  await expect.poll(() => existsSync(share.at("inbox"))).toBe(true);
  const bytes = await samplePdf();
  share.drop("lease.pdf", bytes);
  const id = await taken(share, "lease.pdf");
  share.drop("later.pdf", await samplePdf());
  await taken(share, "later.pdf");

  renameSync(share.dir, `${share.dir}-away`);
  mkdirSync(share.dir); // the place where it is mounted
  await sign(house, id);
  await expect.poll(async () => (await health(house))["inbox:legal"], { timeout: 15_000 }).toMatchObject({ ok: false });
  expect((await health(house))["inbox:legal"]?.note).toContain(MARKER);
  expect((await house.call("GET", "/health/ready")).status).toBe(200);
  expect(readdirSync(share.dir)).toEqual([]);
  expect(house.logged()).toContain("inbox-unmarked");

  rmSync(share.dir, { recursive: true });
  renameSync(`${share.dir}-away`, share.dir);
  await expect.poll(() => share.status("lease.pdf")["state"], { timeout: 20_000 }).toBe("done");
  expect(existsSync(share.at("signed", id, "lease.pdf.signed.pdf"))).toBe(true);
  expect(share.status("later.pdf")["state"]).not.toBe("done");
  await expect.poll(async () => (await health(house))["inbox:legal"]?.ok, { timeout: 15_000 }).toBe(true);
});

test("W32, W33: a folder without its marker is left alone, and served as soon as it has one", async () => {
  const share = makeShare();
  const house = await startWith(share);
  expect((await health(house))["inbox:legal"]).toMatchObject({ ok: false });
  expect(readdirSync(share.dir)).toEqual([]);
  share.mark();
  await expect.poll(() => existsSync(share.at("inbox")), { timeout: 15_000 }).toBe(true);
  share.drop("x.pdf", await samplePdf());
  await taken(share, "x.pdf");
});

test("W24: what is done is kept beside its signature, or not at all, as the inbox wants it", async () => {
  for (const [onSuccess, where] of [
    ["keep", "signed"],
    ["delete", undefined],
  ] as const) {
    const share = makeShare({ on_success: onSuccess });
    share.mark();
    const house = await startWith(share);
    await expect.poll(() => existsSync(share.at("inbox"))).toBe(true);
    const bytes = await samplePdf();
    share.drop("x.pdf", bytes);
    const id = await taken(share, "x.pdf");
    await sign(house, id);
    await expect
      .poll(() => readdirSync(share.at(".work")).filter((name) => name !== "gate"), { timeout: 15_000 })
      .toEqual([]);
    expect(existsSync(share.at("signed", id, "x.pdf.signed.pdf"))).toBe(true);
    expect(existsSync(share.at("signed", id, "x.pdf"))).toBe(where !== undefined);
    expect(readdirSync(share.at("archive"))).toEqual([]);
  }
});

test("W18: a duplicate is set aside, taken as another request, or given the earlier result, as the inbox wants it", async () => {
  const bytes = await samplePdf();
  const share = makeShare({ duplicates: "link" });
  share.mark();
  const house = await startWith(share);
  await expect.poll(() => existsSync(share.at("inbox"))).toBe(true);
  share.drop("a.pdf", bytes);
  const id = await taken(share, "a.pdf");
  await sign(house, id);
  await expect.poll(() => share.status("a.pdf")["state"], { timeout: 15_000 }).toBe("done");
  rmSync(share.at("signed"), { recursive: true });
  mkdirSync(share.at("signed"));
  share.drop("b.pdf", bytes);
  await expect
    .poll(() => share.status("b.pdf"), { timeout: 15_000 })
    .toMatchObject({
      state: "duplicate",
      duplicate_of: { request_id: id, state: "done" },
      signed: [`signed/${id}/a.pdf.signed.pdf`, `signed/${id}/contract.pdf`],
      now_at: "duplicates/b.pdf",
    });
  expect(existsSync(share.at("signed", id, "a.pdf.signed.pdf"))).toBe(true);

  const other = makeShare({ duplicates: "accept" });
  other.mark();
  const second = await startWith(other);
  await expect.poll(() => existsSync(other.at("inbox"))).toBe(true);
  other.drop("a.pdf", bytes);
  const first = await taken(other, "a.pdf");
  other.drop("b.pdf", bytes);
  expect(await taken(other, "b.pdf")).not.toBe(first);
  expect(second.effects("create")).toBeGreaterThan(0);
});

test("W18: whoever hands one of several documents in again is given what that one was signed as, and no other's", async () => {
  const share = makeShare({ duplicates: "link" });
  share.mark();
  const house = await startWith(share);
  await expect.poll(() => existsSync(share.at("inbox"))).toBe(true);
  const bytes = await samplePdf();
  const id = await house.submit({}, [
    { name: "own.pdf", bytes },
    { name: "somebody else's.pdf", bytes: await samplePdf() },
  ]);
  await sign(house, id);
  share.drop("again.pdf", bytes);
  await expect
    .poll(() => share.status("again.pdf"), { timeout: 15_000 })
    .toMatchObject({ state: "duplicate", signed: [`signed/${id}/own.pdf.signed.pdf`, `signed/${id}/contract.pdf`] });
  expect(readdirSync(share.at("signed", id)).sort()).toEqual(["contract.pdf", "own.pdf.signed.pdf"]);
});

test("W34: no more are under way than was set; the rest waits in the inbox, the oldest first", async () => {
  const share = makeShare({ in_flight: 2 });
  share.mark();
  const house = await startWith(share);
  await expect.poll(() => existsSync(share.at("inbox"))).toBe(true);
  // A second apart: what is written within one tick of the file system's clock is of the same age.
  for (const [i, name] of ["1.pdf", "2.pdf", "3.pdf"].entries()) {
    share.drop(name, await samplePdf(), Date.now() - (3 - i) * 1_000);
  }
  const id = await taken(share, "1.pdf");
  await taken(share, "2.pdf");
  await house.waits(id, "approval");
  expect(readdirSync(share.at("inbox"))).toEqual(["3.pdf"]);
  await sign(house, id);
  await taken(share, "3.pdf");
});
