import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { memberIds } from "../../src/core/group.ts";
import { MARKER } from "../../src/producers/inbox/presence.ts";
import { BY_ITSELF, classicBatch, toTable } from "../helpers/batches.ts";
import { type House, readJson, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";

const patience = { timeout: 60_000, interval: 100 };

/** An inbox called legal beside the one in DATA_DIR, and everything that runs. */
async function startShare(more: object = {}, settings: Record<string, string> = {}) {
  const top = mkdtempSync(join(tmpdir(), "signpipe-share-"));
  onTestFinished(() => rmSync(top, { recursive: true, force: true }));
  const at = (...names: string[]) => join(top, "legal", ...names);
  mkdirSync(at());
  writeFileSync(at(MARKER), "");
  const entry = { name: "legal", path: "legal", settle: "200ms", folder_settle: "500ms", sweep: "200ms", ...more };
  writeFileSync(join(top, "inboxes.json"), JSON.stringify([entry]));
  const house: House = await startHouse({
    settings: { INBOXES_FILE: join(top, "inboxes.json"), ...settings },
    simulator: { humans: { signer: "auto", signerDelayMs: 0 } },
  });
  await house.app.startInbox();
  await expect.poll(() => existsSync(at("status")), patience).toBe(true);
  return {
    house,
    at,
    drop(path: string, files: readonly { name: string; bytes: Uint8Array | string }[]) {
      const folder = join(top, "put-together");
      mkdirSync(folder);
      for (const { name, bytes } of files) writeFileSync(join(folder, name), bytes);
      mkdirSync(join(at("inbox", path), ".."), { recursive: true });
      renameSync(folder, at("inbox", path));
    },
    status: (name: string) =>
      existsSync(at("status", `${name}.status.json`)) ? readJson(at("status", `${name}.status.json`)) : {},
  };
}

test("W27, W28: a folder with a table is a batch in an inbox of its own: its rows have the inbox's defaults, and all comes back there", async () => {
  const { columns, rows, files } = await classicBatch(3);
  // What every row would say, the inbox says.
  const workflow = columns.indexOf("workflow");
  expect(workflow).toBeGreaterThanOrEqual(0);
  const without = (row: string[]) => row.filter((_, i) => i !== workflow);
  const email = columns.indexOf("email");
  if (rows[2]) rows[2][email] = "nobody";
  const { house, at, drop, status } = await startShare({ route: "{workflow}/{batch}" }, BY_ITSELF);
  const table = toTable(without(columns), rows.map(without), ";");
  drop("classic/leases", [...files, { name: "batch.csv", bytes: table }]);

  await expect.poll(() => existsSync(at("failed", "classic", "leases.error.txt")), patience).toBe(true);
  expect(house.effects("sign")).toBe(2);
  const [signed = ""] = readdirSync(at("signed", "classic"));
  expect(signed).toMatch(/^bat-/);
  expect(readFileSync(at("failed", "classic", "leases.error.txt"), "utf8")).toContain(`signed/classic/${signed}`);
  const results = readdirSync(at("signed", "classic", signed));
  expect(results.filter((name) => name.endsWith(".pdf"))).toHaveLength(2);
  expect(readFileSync(at("signed", "classic", signed, "results.csv"), "utf8").match(/,done,/g)).toHaveLength(2);
  expect(readdirSync(at("archive", "classic", signed))).toHaveLength(2);
  expect(readdirSync(join(house.dataDir, "archive"))).toEqual([]);
  await expect.poll(() => readdirSync(at(".work")), patience).toEqual(["gate"]);
  expect((await house.app.store.get(requestOf(results))).facts["inbox"]).toBeUndefined();

  // Corrected and put back, the row that was wrong is signed, and nobody else's a second time.
  const back = at("failed", "classic", "leases");
  const left = readFileSync(join(back, "batch.csv"), "utf8");
  writeFileSync(join(back, "batch.csv"), left.replace("nobody", "now@example.com"));
  renameSync(back, at("inbox", "classic", "leases"));
  await expect.poll(() => status("classic/leases")["state"], patience).toBe("done");
  expect(house.effects("sign")).toBe(3);
  expect(status("classic/leases")).toMatchObject({
    now_at: expect.stringMatching(/^archive\/classic\/bat-/) as string,
  });

  // What showed who the signers are is erased, and not archived with the PDF.
  expect(readdirSync(at(status("classic/leases")["now_at"] as string))).toHaveLength(1);

  function requestOf(names: string[]): string {
    const json = JSON.parse(
      readFileSync(at("signed", "classic", signed, names.find((name) => name === "results.json") ?? ""), "utf8"),
    ) as { request_id?: string }[] | { rows: { request_id?: string }[] };
    const all = Array.isArray(json) ? json : json.rows;
    return all.find((row) => row.request_id !== undefined)?.request_id ?? "";
  }
});

test("W27: a row that names another tenant than its inbox is refused, and no other account is used", async () => {
  const { columns, rows, files } = await classicBatch(1);
  const { house, at, drop } = await startShare({ tenant: "default" }, BY_ITSELF);
  const named = rows.map((row) => [...row, "other"]);
  drop("leases", [...files, { name: "batch.csv", bytes: toTable([...columns, "tenant"], named, ";") }]);
  await expect.poll(() => existsSync(at("failed", "leases.error.txt")), patience).toBe(true);
  expect(readJson(at("failed", "leases.error.json"))).toMatchObject({ code: "no-good-row" });
  expect(readFileSync(at("failed", "leases", "results.csv"), "utf8")).toContain("tenant");
  expect(house.effects("create")).toBe(0);
});

test("W27, W34: a folder of twelve PDFs in an inbox of its own becomes two requests, counts as one, and comes back as one", async () => {
  const { house, at, drop, status } = await startShare({ in_flight: 1, defaults: { signer: SIGNER } });
  const names = Array.from({ length: 12 }, (_, i) => `deed ${i + 1}.pdf`);
  const pdfs = await Promise.all(names.map(async (name) => ({ name, bytes: await samplePdf() })));
  drop("estate", [...pdfs, { name: "request.json", bytes: JSON.stringify({ reference: "estate" }) }]);
  await expect.poll(() => status("estate")["request_id"], patience).toMatch(/^req-/);
  const id = status("estate")["request_id"] as string;
  drop("later", [
    { name: "x.pdf", bytes: await samplePdf() },
    { name: "request.json", bytes: "{}" },
  ]);
  for (const one of memberIds({ id, of: 2 })) {
    await house.waits(one, "approval");
    expect(existsSync(at("inbox", "later"))).toBe(true);
    await house.call("POST", `/v1/requests/${one}/approve`);
    await house.waits(one, "code");
    await house.call("POST", `/v1/requests/${one}/code`, { secret: await house.codeFor(one) });
    await house.reaches(one, "cleanup", "done");
  }
  await expect.poll(() => status("estate")["state"], patience).toBe("done");
  const results = readdirSync(at("signed", id));
  expect(results.filter((name) => name.endsWith(".signed.pdf")).sort()).toEqual(
    names.map((name) => `${name}.signed.pdf`).sort(),
  );
  expect(results).toEqual(
    expect.arrayContaining(["contract.pdf", "contract (2).pdf", "evidence.json", "evidence (2).json"]),
  );
  await expect.poll(() => readdirSync(at("archive", id)).length, patience).toBe(12);
  await expect.poll(() => status("later")["request_id"], patience).toMatch(/^req-/);
});
