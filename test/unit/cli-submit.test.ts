import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { toManifest, toSubmission } from "../../src/cli/submit.ts";
import { aRequest, runCommand, startStub, type StubAnswer, type StubCall } from "../helpers/cli-house.ts";

let dir: string;
let pdf: string;
let stub: Awaited<ReturnType<typeof startStub>>;
let answer: (call: StubCall) => StubAnswer;
let env: Record<string, string>;

const ID = `req-${"a".repeat(26)}`;
const SIGNER = ["--email", "ana@example.com", "--phone", "+34600000000"];
const accepted: StubAnswer = { status: 202, body: { id: ID, state: "queued", links: { self: `/v1/requests/${ID}` } } };

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "signpipe-cli-"));
  pdf = join(dir, "lease.pdf");
  writeFileSync(pdf, "%PDF-1.7\nnot really one\n%%EOF\n");
  answer = () => accepted;
  stub = await startStub((call) => answer(call));
  env = { DATA_DIR: dir, API_URL: stub.url, API_KEY: "a-key-of-this-test" };
});
afterEach(async () => {
  await stub.close();
  rmSync(dir, { recursive: true, force: true });
});

test("submit sends manifest and documents under an Idempotency-Key, and prints the id alone on standard output", async () => {
  const { exitCode, out } = await runCommand(["submit", pdf, ...SIGNER, "--reference", "order-1"], { env });
  expect(exitCode).toBe(0);
  expect(out).toBe(`${ID}\n`);
  const [call] = stub.calls;
  expect(call?.headers["idempotency-key"]).toMatch(/^[0-9a-f-]{36}$/);
  expect(Number(call?.headers["content-length"])).toBe(call?.body.length);
  expect(call?.body).toContain('name="file"; filename="lease.pdf"');
  const manifest = /application\/json\r\n\r\n(.*?)\r\n--/s.exec(call?.body ?? "")?.[1] ?? "";
  expect(JSON.parse(manifest)).toEqual({
    workflow: "videoid",
    signer: { email: "ana@example.com", mobile_phone_number: "+34600000000" },
    reference: "order-1",
    authentication: { method: "sms" },
  });
});

test("a broken connection is repeated under the same Idempotency-Key, so that nothing is made twice", async () => {
  answer = () =>
    stub.calls.length < 3
      ? stub.calls.length === 1
        ? "destroy"
        : { status: 503, body: { code: "redis-unavailable" } }
      : accepted;
  const { exitCode, err } = await runCommand(["submit", pdf, ...SIGNER], { env });
  expect(exitCode).toBe(0);
  expect(err).toContain("sending it again");
  expect(stub.calls).toHaveLength(3);
  expect(new Set(stub.calls.map(({ headers }) => headers["idempotency-key"])).size).toBe(1);
  expect(new Set(stub.calls.map(({ body }) => body.length)).size).toBe(1);
});

test("with --wait the exit code says how it ended: 0 done, 2 otherwise", async () => {
  for (const [state, exitCode] of [
    ["done", 0],
    ["refused", 2],
    ["failed", 2],
    ["expired", 2],
    ["cancelled", 2],
  ] as const) {
    answer = ({ method }) =>
      method === "POST" ? accepted : { status: 200, body: aRequest({ state, stage: "cleanup", waiting: undefined }) };
    expect((await runCommand(["submit", pdf, ...SIGNER, "--wait"], { env })).exitCode).toBe(exitCode);
  }
});

test("while it waits it says once whose turn it is, and what to type", async () => {
  answer = ({ method }) => {
    if (method === "POST") return accepted;
    return { status: 200, body: stub.calls.length < 5 ? aRequest() : aRequest({ state: "done", waiting: undefined }) };
  };
  const { err } = await runCommand(["submit", pdf, ...SIGNER, "--wait"], { env });
  expect(err.match(/It is your turn: signpipe approve/g)).toHaveLength(1);
  expect(err).toContain("approve: waiting for a decision on the identification");
  expect(err).toContain("Signed, after 2.0 s.");
});

test("an interrupted wait ends with 130 and says that the request goes on", async () => {
  const controller = new AbortController();
  answer = ({ method }) => {
    if (method === "POST") return accepted;
    setImmediate(() => controller.abort());
    return { status: 200, body: aRequest() };
  };
  const { exitCode, err } = await runCommand(["submit", pdf, ...SIGNER, "--wait"], { env, signal: controller.signal });
  expect(exitCode).toBe(130);
  expect(err).toContain(`the request goes on. Follow it with: signpipe show ${ID}`);
});

test("a file that cannot be sent is named before anything is sent", async () => {
  const empty = join(dir, "empty.pdf");
  writeFileSync(empty, "");
  for (const [path, word] of [
    [join(dir, "none.pdf"), "cannot be read (ENOENT)"],
    [empty, "is empty"],
    [dir, "is not a file"],
  ] as const) {
    const { exitCode, err } = await runCommand(["submit", path, ...SIGNER], { env });
    expect(exitCode).toBe(1);
    expect(err).toContain(word);
  }
  expect(stub.calls).toEqual([]);
});

test("a signer that nobody named is asked for", async () => {
  const { exitCode, err } = await runCommand(["submit", pdf], { env });
  expect(exitCode).toBe(1);
  expect(err).toContain("Who signs? Give --email and --phone");
});

test("a manifest comes from a file, and options win over it", () => {
  const manifest = join(dir, "request.json");
  writeFileSync(
    manifest,
    JSON.stringify({ workflow: "videoid", reference: "old", signer: { email: "a@example.com", given_name: "Ana" } }),
  );
  expect(toManifest({ manifest, reference: "new", phone: "+34600000000", auth: "external:ucheck:op:42" })).toEqual({
    workflow: "videoid",
    reference: "new",
    signer: { email: "a@example.com", given_name: "Ana", mobile_phone_number: "+34600000000" },
    authentication: { method: "external", type: "ucheck", value: "op:42" },
  });
});

test("a signature apart is asked for by an option, beside what the manifest says of signatures, and any file is sent", async () => {
  const manifest = join(dir, "request.json");
  writeFileSync(manifest, JSON.stringify({ signer: { email: "a@example.com" }, signature: { format: "pades" } }));
  expect(toManifest({ manifest, format: "cms" })["signature"]).toEqual({ format: "cms" });
  expect(toManifest({ manifest })["signature"]).toEqual({ format: "pades" });
  expect(toManifest({ manifest, appearance: "letter" })["signature"]).toEqual({
    format: "pades",
    appearance: "letter",
  });
  const song = join(dir, "song.flac");
  writeFileSync(song, "fLaC");
  const { exitCode } = await runCommand(["submit", song, pdf, ...SIGNER, "--format", "cms"], { env });
  expect(exitCode).toBe(0);
  const body = stub.calls[0]?.body ?? "";
  expect(body).toContain('"signature":{"format":"cms"}');
  expect(body).toMatch(/filename="song.flac"\r\nContent-Type: application\/octet-stream\r\n/);
  expect(body).toMatch(/filename="lease.pdf"\r\nContent-Type: application\/pdf\r\n/);
});

test("a manifest that is no JSON object, and an unknown way to authenticate, are named", () => {
  const manifest = join(dir, "request.json");
  writeFileSync(manifest, "[1]");
  expect(() => toManifest({ manifest })).toThrow(/is not a JSON object/);
  expect(() => toManifest({ email: "a@example.com", phone: "+34600000000", auth: "external:x" })).toThrow(
    /--auth must be/,
  );
});

test("files that the manifest names are taken from beside it, and sent under the name of what they show", async () => {
  mkdirSync(join(dir, "case"));
  const manifest = join(dir, "case", "request.json");
  const identity = { document_front: "DNI Ana.jpg", document_rear: "rear.png" };
  writeFileSync(manifest, JSON.stringify({ workflow: "classic", signer: { email: "a@b.co" }, identity }));
  writeFileSync(join(dir, "case", "DNI Ana.jpg"), "the front");
  writeFileSync(join(dir, "case", "rear.png"), "the rear");
  const { exitCode, err } = await runCommand(["submit", pdf, "-m", manifest], { env });
  expect({ exitCode, err }).toMatchObject({ exitCode: 0 });
  const { body = "", headers } = stub.calls[0] ?? {};
  expect(Number(headers?.["content-length"])).toBe(body.length);
  expect(body).toMatch(/name="enclosure"; filename="document_front"\r\nContent-Type: [^\r]*\r\n\r\nthe front\r\n/);
  expect(body).toMatch(/name="enclosure"; filename="document_rear"\r\nContent-Type: [^\r]*\r\n\r\nthe rear\r\n/);
  expect(body).toContain('"identity":{"document_front":"document_front","document_rear":"document_rear"}');
  expect(body).not.toContain("Ana");
});

test("an option says where a file is instead, and what else the workflow needs", () => {
  const manifest = join(dir, "request.json");
  writeFileSync(
    manifest,
    JSON.stringify({ identity: { document_front: "front.jpg", ocr_data: { serial_number: "7" } } }),
  );
  const options = { manifest, workflow: "videoid-external", documentRear: "../rear.png", video: "/films/1.mp4" };
  expect(toSubmission(options)).toMatchObject({
    manifest: {
      workflow: "videoid-external",
      identity: {
        document_front: "document_front",
        document_rear: "document_rear",
        video: "video",
        ocr_data: { serial_number: "7" },
      },
    },
    files: [
      { role: "document_front", path: join(dir, "front.jpg") },
      { role: "document_rear", path: "../rear.png" },
      { role: "video", path: "/films/1.mp4" },
    ],
  });
  expect(
    toManifest({ email: "a@b.co", phone: "+34600000000", idDocumentType: "IDC", idDocumentCountry: "ES" }),
  ).toMatchObject({
    signer: { id_document_type: "IDC", id_document_country: "ES" },
  });
});

test("a name that is a path is left to the API, which says what must be so", () => {
  const manifest = join(dir, "request.json");
  const identity = { document_front: "../front.jpg", document_rear: ".hidden", video: 7 };
  writeFileSync(manifest, JSON.stringify({ identity }));
  expect(toSubmission({ manifest })).toMatchObject({ manifest: { identity }, files: [] });
});

test("a file that is named and not there is told before anything is sent", async () => {
  const manifest = join(dir, "request.json");
  writeFileSync(manifest, JSON.stringify({ signer: {}, identity: { document_front: "front.jpg" } }));
  const { exitCode, err } = await runCommand(["submit", pdf, "-m", manifest], { env });
  expect(exitCode).toBe(1);
  expect(err).toMatch(/front\.jpg cannot be read \(ENOENT\): check the name; it is to be sent as document_front\./);
  expect(stub.calls).toEqual([]);
});

test("of documents that became several requests every id is printed, and --wait stays until all are over", async () => {
  const other = `req-${"b".repeat(26)}`;
  const group = { id: ID, requests: [ID, other] };
  const ends: Record<string, string> = { [ID]: "done", [other]: "refused" };
  answer = ({ method, path }) => {
    if (method === "POST") return { status: 202, body: { id: ID, state: "queued", group } };
    const id = path.split("/").at(-1) ?? "";
    return { status: 200, body: aRequest({ id, state: ends[id], stage: "cleanup", waiting: undefined }) };
  };
  const many = Array.from({ length: 11 }, () => pdf);
  const at = await runCommand(["submit", ...many, ...SIGNER], { env });
  expect([at.exitCode, at.out]).toEqual([0, `${ID}\n${other}\n`]);
  expect(at.err).toContain(`signpipe list --group ${ID}`);
  const waited = await runCommand(["submit", ...many, ...SIGNER, "--wait"], { env });
  expect([waited.exitCode, waited.out]).toEqual([2, `${ID}\n${other}\n`]);
  const told = await runCommand(["submit", ...many, ...SIGNER, "--wait", "--json"], { env });
  expect((JSON.parse(told.out) as { items: { id: string }[] }).items.map(({ id }) => id)).toEqual([ID, other]);
});
