import { readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request as call } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { runCommand } from "../helpers/cli-house.ts";
import { type House, readJson, samplePdf, startHouse } from "../helpers/house.ts";

/** A provider that writes every PDF anew, where people play their parts by themselves. */
const CLEANING = {
  simulator: { pdfClean: true, humans: { signer: "auto" as const, signerDelayMs: 0 } },
  settings: { APPROVAL: "auto", ONESHOT_INCREMENTAL: "false" },
};

const twoDocuments = async () => [
  { name: "lease.pdf", bytes: await samplePdf() },
  { name: "annex.pdf", bytes: await samplePdf() },
];

/** A way to the provider on which a call may be led to another path. */
async function startDetour(reroute: (path: string) => string) {
  let origin = "";
  const server = createServer((incoming, outgoing) => {
    const { method = "GET", url = "/", headers } = incoming;
    const path = method === "GET" ? reroute(url) : url;
    const onward = call(origin + path, { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    onward.on("error", () => outgoing.destroy());
    incoming.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return ({ url }: { url: string }) => {
    const through = new URL(url);
    origin = through.origin;
    through.port = String((server.address() as AddressInfo).port);
    return through.href;
  };
}

/** A house whose provider hands out the other of two documents when asked for one, `times` times. */
async function startSwapping(shelf: "original" | "signed", times = Number.POSITIVE_INFINITY) {
  let swapped = 0;
  const swap = (path: string) => {
    const isOriginal = path.includes("document_type=original");
    if (!/^\/[^?]*\/document\/\d+\//.test(path) || isOriginal !== (shelf === "original") || swapped >= times)
      return path;
    const uids = house.simulator.ledger.filter(({ effect }) => effect === "upload").map((entry) => entry.document_uid);
    const [one = "", other = ""] = uids.slice(-2);
    swapped += 1;
    return path.includes(one) ? path.replace(one, other) : path.replace(other, one);
  };
  const house: House = await startHouse({ ...CLEANING, oneshotUrl: await startDetour(swap) });
  return { house, swapped: () => swapped };
}

async function signs(house: House, id: string): Promise<void> {
  await house.waits(id, "code");
  expect((await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) })).status).toBe(202);
}

async function historyOf(house: House, id: string): Promise<string> {
  return JSON.stringify(await house.app.store.history(id));
}

test("documents that the provider writes anew come back signed; the evidence says that they were known by their text", async () => {
  const house = await startHouse(CLEANING);
  const id = await house.submit({}, await twoDocuments());
  await signs(house, id);
  await house.reaches(id, "cleanup", "done");
  const folder = join(house.dataDir, "signed", id);
  expect(readJson(join(folder, "evidence.json"))).toMatchObject({
    documents: [
      { name: "lease.pdf", signed: { recognised_by: "text" } },
      { name: "annex.pdf", signed: { recognised_by: "text" } },
    ],
  });
  expect(readdirSync(folder).filter((name) => name.startsWith("."))).toEqual([]);
  expect(house.effects("upload")).toBe(2);
  expect(house.effects("otp")).toBe(1);

  const findings = async (incremental: string) => {
    const env = { DATA_DIR: house.dataDir, ONESHOT_INCREMENTAL: incremental };
    const { out } = await runCommand(["verify", id, "--json"], { env });
    const { requests } = JSON.parse(out) as { requests: { findings: { code: string }[] }[] };
    return requests.flatMap((one) => one.findings.map(({ code }) => code));
  };
  const other = "signature-other-document";
  expect(await findings("false")).toEqual([]);
  expect(await findings("true")).toEqual([other, other]);

  // As if each had been stored under the other's name, and nobody could tell but by what they show.
  const evidence = readJson(join(folder, "evidence.json")) as unknown as { documents: { signed: object }[] };
  const [lease, annex] = evidence.documents;
  if (!lease || !annex) throw new Error("the evidence does not name both documents");
  [lease.signed, annex.signed] = [annex.signed, lease.signed];
  writeFileSync(join(folder, "evidence.json"), JSON.stringify(evidence));
  rmSync(join(house.dataDir, "journal"), { recursive: true });
  expect(await findings("false")).toEqual(["not-in-journal", other, other]);
  renameSync(join(house.dataDir, ".work", id), join(house.dataDir, "archive", id));
  expect(await findings("false")).toEqual(["not-in-journal", other, other]);
});

test("documents that were swapped at the provider, though it rewrites them, are noticed before a code is sent", async () => {
  const { house } = await startSwapping("original");
  const id = await house.submit({}, await twoDocuments());
  await house.reaches(id, "cleanup", "failed", 60_000);
  expect((await house.app.store.get(id)).failure).toMatchObject({ code: "seal-broken" });
  expect(house.effects("upload")).toBe(6); // sent again twice, which did not help
  expect(house.effects("otp")).toBe(0);
  expect(house.effects("sign")).toBe(0);
});

test("a signed document that is another one's, though the provider rewrites them, is not taken, and fetched again", async () => {
  const { house, swapped } = await startSwapping("signed", 1);
  const id = await house.submit({}, await twoDocuments());
  await signs(house, id);
  await house.reaches(id, "cleanup", "done", 60_000);
  expect(swapped()).toBe(1);
  expect(await historyOf(house, id)).toContain("signature-other-document");
  const { documents } = readJson(join(house.dataDir, "signed", id, "evidence.json")) as { documents: object[] };
  expect(documents).toMatchObject([{ signed: { recognised_by: "text" } }, { signed: { recognised_by: "text" } }]);
});
