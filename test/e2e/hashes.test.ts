import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { toHashFile } from "../../src/files/hash-file.ts";
import { until } from "../helpers/api-house.ts";
import { runCommand } from "../helpers/cli-house.ts";
import { CLASSIC_SIGNER, jpeg } from "../helpers/identity.ts";
import { byOpenssl } from "../helpers/openssl.ts";
import { type House, readJson, SIGNER, startHouse } from "../helpers/house.ts";

const AUTO = { settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } } };
const APART = { signer: SIGNER, signature: { format: "cms" } };

async function sign(house: House, id: string): Promise<string> {
  await house.waits(id, "code");
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.reaches(id, "cleanup", "done");
  return join(house.dataDir, "signed", id);
}

/** All that the simulator was given to keep, of whatever request. */
function keptBySimulator(house: House): Buffer {
  const files = readdirSync(house.simulator.dataDir, { recursive: true, withFileTypes: true });
  return Buffer.concat(
    files.filter((one) => one.isFile()).map(({ parentPath, name }) => readFileSync(join(parentPath, name))),
  );
}

test("through the API: files of any kind come back with signatures apart, and only their hashes have left", async () => {
  const house = await startHouse(AUTO);
  const photo = randomBytes(200_000);
  const plan = randomBytes(1_000);
  const hash = toHashFile(createHash("sha256").update(plan).digest("hex"));
  const documents = [
    { name: "photo.jpg", bytes: photo },
    { name: "plan.dwg.hash.json", bytes: hash },
  ];
  const id = await house.submit(APART, documents);
  await house.waits(id, "code");
  expect(house.simulator.ledger.filter(({ effect }) => effect === "upload")).toHaveLength(2);
  expect(keptBySimulator(house).includes(photo.subarray(0, 100))).toBe(false);
  const folder = await sign(house, id);
  expect(byOpenssl(join(folder, "photo.jpg.p7m"), photo, house.dataDir)).toBe("valid");
  expect(byOpenssl(join(folder, "plan.dwg.p7m"), plan, house.dataDir)).toBe("valid");
  expect(() => byOpenssl(join(folder, "plan.dwg.p7m"), photo, house.dataDir)).toThrow();

  const evidence = readJson(join(folder, "evidence.json"));
  expect(evidence).toMatchObject({
    signature_format: "cms",
    documents: [
      { name: "photo.jpg", signed: { name: "photo.jpg.p7m" } },
      { name: "plan.dwg.hash.json", digest: { algorithm: "sha256" }, signed: { name: "plan.dwg.p7m" } },
    ],
  });
  const bearer = { authorization: `Bearer ${house.keyRing.apiKeys[0]?.secret ?? ""}` };
  const answer = await fetch(`${house.api}/v1/requests/${id}/documents/2/signed`, { headers: bearer });
  expect(answer.headers.get("content-type")).toMatch(/^application\/pkcs7-mime/);
  expect(Buffer.from(await answer.arrayBuffer())).toEqual(readFileSync(join(folder, "plan.dwg.p7m")));
  expect(house.effects("delete-document")).toBe(2);
  expect(house.effects("sign")).toBe(1);

  const { exitCode, out } = await runCommand(["verify", id], { env: { DATA_DIR: house.dataDir } });
  expect([exitCode, out]).toEqual([0, expect.stringContaining("2 signed")]);
  writeFileSync(join(folder, "photo.jpg.p7m"), readFileSync(join(folder, "plan.dwg.p7m")));
  const spoilt = await runCommand(["verify", id], { env: { DATA_DIR: house.dataDir } });
  expect([spoilt.exitCode, spoilt.out]).toEqual([1, expect.stringContaining("signed-file-changed")]);
});

test("through the inbox: a file with its sidecar, and a folder of a classic request; the same again is a duplicate", async () => {
  const house = await startHouse(AUTO);
  await house.app.startInbox();
  const inbox = (...names: string[]) => join(house.dataDir, "inbox", ...names);
  const letter = randomBytes(10_000);
  writeFileSync(inbox("letter.docx"), letter);
  writeFileSync(inbox("letter.docx.json"), JSON.stringify({ ...APART, reference: "letter" }));
  mkdirSync(inbox("case"));
  writeFileSync(inbox("case", "a.xml"), letter.subarray(1));
  writeFileSync(inbox("case", "b.pdf"), "signed as it is, whatever it is");
  const identity = { document_front: "front.jpg", document_rear: "rear.jpg" };
  for (const name of Object.values(identity)) writeFileSync(inbox("case", name), jpeg());
  const classic = { workflow: "classic", signer: CLASSIC_SIGNER, identity, signature: { format: "cms" } };
  writeFileSync(inbox("case", "request.json"), JSON.stringify({ ...classic, reference: "case" }));
  const idOf = async (reference: string): Promise<string> => {
    const look = async () => (await house.call("GET", `/v1/requests?reference=${reference}`)).body["items"];
    const items = await until(look, (found) => (found as unknown[]).length > 0, 20_000);
    return (items as { id: string }[])[0]?.id ?? "";
  };
  const [one, other] = [await idOf("letter"), await idOf("case")];
  const folder = await sign(house, one);
  expect(byOpenssl(join(folder, "letter.docx.p7m"), letter, house.dataDir)).toBe("valid");
  const more = await sign(house, other);
  expect(byOpenssl(join(more, "a.xml.p7m"), letter.subarray(1), house.dataDir)).toBe("valid");
  expect(readdirSync(more).sort()).toEqual(["a.xml.p7m", "b.pdf.p7m", "contract.pdf", "evidence.json"]);
  const become = async (folder: string, names: string[]) => {
    const look = () => (existsSync(join(house.dataDir, folder)) ? readdirSync(join(house.dataDir, folder)).sort() : []);
    await until(look, (found) => names.every((name) => found.includes(name)), 20_000);
    expect(look()).toEqual(names);
  };
  await become(`archive/${one}`, ["letter.docx"]);
  await become(`archive/${other}`, ["a.xml", "b.pdf"]);

  writeFileSync(inbox("again.docx"), letter);
  writeFileSync(inbox("again.docx.json"), JSON.stringify(APART));
  const notes = ["again.docx.duplicate.json", "again.docx.duplicate.txt"];
  await become("duplicates", ["again.docx", ...notes, "again.docx.json"]);
  expect(house.effects("sign")).toBe(2);
});

test("through the command line, and nothing is deleted at the provider whose signature is not here any more", async () => {
  const house = await startHouse({ ...AUTO, settings: { ...AUTO.settings, DELETE_GRACE_MS: "2000" } });
  const file = join(house.dataDir, "song.flac");
  writeFileSync(file, randomBytes(5_000));
  const env = { API_URL: house.api, API_KEY: house.keyRing.apiKeys[0]?.secret ?? "", DATA_DIR: house.dataDir };
  const who = ["--email", SIGNER.email, "--phone", SIGNER.mobile_phone_number, "--format", "cms"];
  const { exitCode, out, err } = await runCommand(["submit", file, ...who], { env });
  expect([exitCode, err]).toEqual([0, expect.stringContaining("Accepted")]);
  const id = out.trim();
  await house.waits(id, "code");
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.waits(id, "the grace before deletion");
  const p7m = join(house.dataDir, "signed", id, "song.flac.p7m");
  expect(byOpenssl(p7m, readFileSync(file), house.dataDir)).toBe("valid");
  writeFileSync(p7m, "gone");
  await house.reaches(id, "cleanup", "failed");
  expect((await house.app.store.get(id)).failure?.code).toBe("signed-file-changed");
  expect(house.effects("delete-document")).toBe(0);
});
