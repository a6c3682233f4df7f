import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { aRequest, runCommand, startStub, type StubAnswer, type StubCall } from "../helpers/cli-house.ts";

const KEY = "a-key-of-this-test";
let dir: string;
let stub: Awaited<ReturnType<typeof startStub>>;
let answer: (call: StubCall) => StubAnswer;
let env: Record<string, string>;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "signpipe-cli-"));
  answer = () => ({ status: 200, body: aRequest() });
  stub = await startStub((call) => answer(call));
  env = { DATA_DIR: dir, API_URL: stub.url, API_KEY: KEY };
});
afterEach(async () => {
  await stub.close();
  rmSync(dir, { recursive: true, force: true });
});

const ID = `req-${"a".repeat(26)}`;
const problem = (status: number, code: string, detail: string, errors?: object[]): StubAnswer => ({
  status,
  body: { type: "about:blank", title: "No", status, detail, code, correlation_id: "c-1", ...(errors && { errors }) },
});

test("approve posts to the request with the key, and says where it is now", async () => {
  const { exitCode, err } = await runCommand(["approve", ID], { env });
  expect(exitCode).toBe(0);
  expect(err).toContain(`Approved: ${ID}`);
  expect(stub.calls[0]).toMatchObject({ method: "POST", path: `/v1/requests/${ID}/approve` });
  expect(stub.calls[0]?.headers.authorization).toBe(`Bearer ${KEY}`);
});

test("what the API refuses is told in its own sentence, with the fields, and ends with 1", async () => {
  answer = () =>
    problem(422, "invalid-manifest", "The manifest cannot be used.", [
      { field: "signer.email", message: "must be an e-mail address" },
    ]);
  const { exitCode, err } = await runCommand(["retry", ID], { env });
  expect(exitCode).toBe(1);
  expect(err).toBe("signpipe: The manifest cannot be used. signer.email must be an e-mail address.\n");
});

test("a field that the sentence tells already is not told again", async () => {
  answer = () =>
    problem(422, "invalid-manifest", "The manifest cannot be used: signer.email is missing.", [
      { field: "manifest.signer.email", message: "is missing" },
      { field: "manifest.signer.mobile_phone_number", message: "is missing" },
    ]);
  const { err } = await runCommand(["retry", ID], { env });
  expect(err).toBe(
    "signpipe: The manifest cannot be used: signer.email is missing. manifest.signer.mobile_phone_number is missing.\n",
  );
  answer = () =>
    problem(422, "unusable-pdf", 'Document 1 ("a.pdf") cannot be signed: It is cut off.', [
      { field: "file[1]", message: "It is cut off." },
    ]);
  expect((await runCommand(["retry", ID], { env })).err).toBe(
    'signpipe: Document 1 ("a.pdf") cannot be signed: It is cut off.\n',
  );
});

test("what stands still is told before the list, and resume lets it go on", async () => {
  const standing = {
    lane: "rao",
    code: "rao-rejected",
    reason: "Approvals stand still.",
    since: "2026-01-15T08:20:00.000Z",
  };
  answer = ({ path }) => ({
    status: 200,
    body: { items: path.startsWith("/v1/lanes") ? [standing] : [], next_cursor: null },
  });
  expect((await runCommand(["list"], { env })).err).toContain("Stands still: Approvals stand still.");
  const { exitCode, err } = await runCommand(["resume"], { env });
  expect([exitCode, err]).toEqual([0, "Goes on, one call first: Approvals stand still.\n"]);
  expect(stub.calls.at(-1)).toMatchObject({ method: "POST", path: "/v1/lanes/resume" });
  answer = () => ({ status: 200, body: { items: [] } });
  expect((await runCommand(["resume"], { env })).err).toBe("Nothing stands still.\n");
});

test("a wrong key is told with the remedy, and without the key", async () => {
  answer = () => problem(401, "unauthorized", "The key is wrong.");
  const { exitCode, err } = await runCommand(["list"], { env });
  expect(exitCode).toBe(1);
  expect(err).toContain("does not know the key that was sent: set API_KEY");
  expect(err).not.toContain(KEY);
});

test("when nothing runs on DATA_DIR the command says how to start it", async () => {
  const { exitCode, err } = await runCommand(["list"], { env: { DATA_DIR: dir } });
  expect(exitCode).toBe(1);
  expect(err).toContain(`No signpipe runs on ${dir}: start it with "npm start"`);
});

test("a signpipe that was killed is told apart from one that does not answer", async () => {
  writeFileSync(join(dir, "run.json"), JSON.stringify({ pid: 2 ** 22 - 1, api: "http://127.0.0.1:1" }));
  const { err } = await runCommand(["list"], { env: { DATA_DIR: dir, API_KEY: KEY } });
  expect(err).toContain("has stopped");
  const silent = await runCommand(["list"], { env: { ...env, API_URL: "http://127.0.0.1:1" } });
  expect(silent.err).toContain("The API at http://127.0.0.1:1 does not answer (ECONNREFUSED)");
});

test("without API_URL the address comes from run.json and the key from DATA_DIR", async () => {
  mkdirSync(join(dir, "keys"));
  writeFileSync(join(dir, "keys", "api-keys"), `admin:${KEY}\n`);
  writeFileSync(join(dir, "run.json"), JSON.stringify({ pid: process.pid, api: stub.url }));
  expect((await runCommand(["show", ID], { env: { DATA_DIR: dir } })).exitCode).toBe(1);
  expect(stub.calls[0]?.headers.authorization).toBe(`Bearer ${KEY}`);
});

test("the key of this machine is not sent to an API of another one", async () => {
  mkdirSync(join(dir, "keys"));
  writeFileSync(join(dir, "keys", "api-keys"), `admin:${KEY}\n`);
  const { err } = await runCommand(["list"], { env: { DATA_DIR: dir, API_URL: "http://api.example.com" } });
  expect(err).toContain("There is no key for the API at http://api.example.com");
});

test("list prints a table, newest first as the API gives it, and cuts nothing for a script", async () => {
  const done = aRequest({
    id: `req-b${"0".repeat(25)}`,
    state: "done",
    stage: "cleanup",
    waiting: undefined,
    reference: "order-1",
  });
  answer = () => ({ status: 200, body: { items: [aRequest(), done], next_cursor: null } });
  const { out } = await runCommand(["list"], { env });
  const lines = out.trimEnd().split("\n");
  expect(lines[0]).toMatch(/^REQUEST +STATE +WHERE +DOCUMENTS +REFERENCE +AGE$/);
  expect(lines[1]).toMatch(/^req-aaaaaaaa {2}waiting {2}approve: a decision on the identification {2}lease\.pdf/);
  expect(lines[2]).toMatch(/^req-b0000000 {2}done .* order-1 +2\.0 s$/);
});

test("list follows the pages up to the limit, and --json prints what the API tells", async () => {
  answer = ({ query }) => {
    const at = Number(query.get("cursor") ?? 0);
    const items = Array.from({ length: Number(query.get("limit")) }, (_, i) => aRequest({ reference: `r-${at + i}` }));
    return { status: 200, body: { items, next_cursor: String(at + items.length) } };
  };
  const { out } = await runCommand(["list", "--limit", "250", "--json"], { env });
  const page = JSON.parse(out) as { items: { reference: string }[]; next_cursor: string };
  expect(page.items).toHaveLength(250);
  expect(page.items[249]?.reference).toBe("r-249");
  expect(stub.calls.map(({ query }) => query.get("limit"))).toEqual(["200", "50"]);
});

test("a request can be named by its reference, or by the beginning of its id", async () => {
  answer = ({ path, query }) => {
    if (path !== "/v1/requests") return { status: 200, body: aRequest() };
    const found = query.get("reference") === "order-7" || query.get("reference") === null;
    return { status: 200, body: { items: found ? [aRequest()] : [], next_cursor: null } };
  };
  for (const name of ["order-7", "req-aaaa", "aaaa"]) {
    expect((await runCommand(["cancel", name], { env })).exitCode).toBe(0);
    expect(stub.calls.at(-1)?.path).toBe(`/v1/requests/${ID}/cancel`);
  }
});

test("a beginning that fits several requests is refused, and nothing is done", async () => {
  const items = [aRequest(), aRequest({ id: `req-aa${"b".repeat(24)}` })];
  answer = ({ query }) => ({
    status: 200,
    body: { items: query.get("reference") === null ? items : [], next_cursor: null },
  });
  const { exitCode, err } = await runCommand(["cancel", "req-aa"], { env });
  expect(exitCode).toBe(1);
  expect(err).toContain("fits more than one request");
  expect(stub.calls.filter(({ method }) => method === "POST")).toEqual([]);
});

test("show says whose turn it is, what to do, and how it came there", async () => {
  answer = ({ path }) =>
    path.endsWith("/history")
      ? {
          status: 200,
          body: {
            items: [
              { at: "2026-11-24T08:00:01.000Z", event: "wait", stage: "approve", phase: "waiting", note: "approval" },
            ],
          },
        }
      : { status: 200, body: aRequest({ reference: "order\u001b[31m-1" }) };
  const { out } = await runCommand(["show", ID], { env });
  expect(out).toContain("a decision on the identification, until 2026-12-08");
  expect(out).toContain(`signpipe approve ${ID}`);
  expect(out).toMatch(/wait +approve +waiting +approval/);
  expect(out).not.toContain("\u001b");
});

test("list and show tell what the state alone does not", async () => {
  const notice = { code: "cancelled-but-signed", message: "It was cancelled, but turned out to be signed." };
  const done = aRequest({ state: "done", phase: "done", stage: "cleanup", waiting: undefined, notice });
  answer = ({ path }) => {
    if (path.endsWith("/history")) return { status: 200, body: { items: [] } };
    return { status: 200, body: path === "/v1/requests" ? { items: [done], next_cursor: null } : done };
  };
  expect((await runCommand(["list"], { env })).out).toMatch(/^req-aaaaaaaa +done +cancelled-but-signed +lease\.pdf/m);
  const { out } = await runCommand(["show", ID], { env });
  expect(out).toMatch(/State +done$/m);
  expect(out).toMatch(/Mind +It was cancelled, but turned out to be signed\. \(cancelled-but-signed\)$/m);
});

test("the code is read from standard input, so that it is in no process list", async () => {
  const { exitCode, err } = await runCommand(["code", ID], { env, stdin: "052174\nmore\n" });
  expect(exitCode).toBe(0);
  expect(JSON.parse(stub.calls[0]?.body ?? "")).toEqual({ secret: "052174" });
  expect(err).not.toContain("052174");
});

test("a code in the arguments is taken, with a warning", async () => {
  const { exitCode, err } = await runCommand(["code", ID, "052174"], { env });
  expect(exitCode).toBe(0);
  expect(err).toContain("process list");
});

test("an empty code is not sent", async () => {
  const { exitCode } = await runCommand(["code", ID], { env, stdin: "" });
  expect(exitCode).toBe(1);
  expect(stub.calls).toEqual([]);
});

test("refuse wants a reason, and sends it", async () => {
  expect((await runCommand(["refuse", ID], { env })).err).toContain("Give --reason");
  await runCommand(["refuse", ID, "--reason", "The photograph does not show the signer."], { env });
  expect(JSON.parse(stub.calls[0]?.body ?? "")).toEqual({ reason: "The photograph does not show the signer." });
});

test("what an officer looks at is saved for its owner alone, and nothing is overwritten", async () => {
  const to = join(dir, "film.mp4");
  answer = ({ path }) =>
    path.endsWith("/video") ? { status: 200, bytes: Buffer.from("a film") } : { status: 200, body: aRequest() };
  const { exitCode, err } = await runCommand(["video", ID, "--output", to], { env });
  expect({ exitCode, err }).toMatchObject({ exitCode: 0 });
  expect(err).toContain("Saved, 6 bytes");
  expect(readFileSync(to, "utf8")).toBe("a film");
  expect(statSync(to).mode & 0o777).toBe(0o600);
  expect(stub.calls.at(-1)).toMatchObject({ method: "GET", path: `/v1/requests/${ID}/video` });
  const again = await runCommand(["video", ID, "--output", to], { env });
  expect(again).toMatchObject({ exitCode: 1 });
  expect(again.err).toContain("is there already: it is not overwritten");
});

test("a file that was handed in is asked for by its name; what the API refuses leaves no file", async () => {
  const to = join(dir, "front.jpg");
  answer = ({ path }) =>
    path.includes("/enclosures/")
      ? problem(404, "no-such-enclosure", "The request was not handed in with such a file.")
      : { status: 200, body: aRequest() };
  const { exitCode, err } = await runCommand(["enclosure", ID, "document_front", "-o", to], { env });
  expect(exitCode).toBe(1);
  expect(err).toContain("was not handed in with such a file");
  expect(stub.calls.at(-1)?.path).toBe(`/v1/requests/${ID}/enclosures/document_front`);
  expect(existsSync(to)).toBe(false);
  expect((await runCommand(["enclosure", ID, "document_front"], { env })).err).toContain("Give --output");
});

test("a signer whom we identified ourselves is sent to no page", async () => {
  for (const [workflow, isShown] of [
    ["videoid", true],
    ["videoid-external", false],
  ] as const) {
    const waiting = { for: "identification", since: "2026-11-24T08:00:00.000Z", until: "2026-12-08T08:00:00.000Z" };
    const request = aRequest({ workflow, waiting, videoid_link: "https://v.example/1" });
    answer = ({ path }) => ({ status: 200, body: path.endsWith("/history") ? { items: [] } : request });
    expect((await runCommand(["show", ID], { env })).out.includes("https://v.example/1"), workflow).toBe(isShown);
  }
});

test("show tells which files there are to look at", async () => {
  answer = ({ path }) => ({
    status: 200,
    body: path.endsWith("/history")
      ? { items: [] }
      : aRequest({ enclosures: [{ name: "document_front" }, { name: "video" }] }),
  });
  const { out } = await runCommand(["show", ID], { env });
  expect(out).toMatch(/Handed in +document_front, video {2}\(signpipe enclosure\)/);
});

const PARTNER = `req-${"b".repeat(26)}`;
const GROUPED = [
  aRequest({ id: PARTNER, group: { id: ID, n: 2, of: 2 } }),
  aRequest({ id: ID, group: { id: ID, n: 1, of: 2 } }),
];
const asGroup = ({ method, path, query }: StubCall): StubAnswer => {
  if (method === "POST") return { status: 202, body: aRequest() };
  const one = GROUPED.find(({ id }) => path.endsWith(String(id)));
  if (one) return { status: 200, body: one };
  return { status: 200, body: { items: query.get("group") === ID ? GROUPED : [], next_cursor: null } };
};

test("those that were handed in together are listed by the id of any of them", async () => {
  answer = asGroup;
  for (const id of [ID, PARTNER]) {
    const { out } = await runCommand(["list", "--group", id, "--json"], { env });
    expect((JSON.parse(out) as { items: { id: string }[] }).items.map((one) => one.id)).toEqual([PARTNER, ID]);
  }
  answer = () => ({ status: 200, body: aRequest() });
  const alone = await runCommand(["list", "--group", ID], { env });
  expect([alone.exitCode, alone.err]).toEqual([1, expect.stringContaining("it was handed in alone")]);
});

test("cancel --group cancels each of them in turn; one that is too late holds nobody up, and is told", async () => {
  answer = asGroup;
  const acted = () => stub.calls.filter(({ method }) => method === "POST").map(({ path }) => path);
  const both = [`/v1/requests/${ID}/cancel`, `/v1/requests/${PARTNER}/cancel`];
  expect((await runCommand(["cancel", "--group", PARTNER], { env })).exitCode).toBe(0);
  expect(acted()).toEqual(both);

  answer = (call) => (call.path === both[0] ? problem(409, "too-late", "It may already be signed.") : asGroup(call));
  const { exitCode, err } = await runCommand(["cancel", "--group", ID], { env });
  expect(exitCode).toBe(1);
  expect(err).toContain("It may already be signed.");
  expect(acted()).toEqual([...both, ...both]);
});

test("cancel wants one request or one group, and not both", async () => {
  for (const args of [["cancel"], ["cancel", ID, "--group", ID]]) {
    const { exitCode, err } = await runCommand(args, { env });
    expect([exitCode, err]).toEqual([1, expect.stringContaining("Which one?")]);
  }
  expect(stub.calls).toEqual([]);
});

test("show says where a request stands among those that came together", async () => {
  answer = ({ path }) => ({ status: 200, body: path.endsWith("/history") ? { items: [] } : GROUPED[0] });
  expect((await runCommand(["show", PARTNER], { env })).out).toMatch(
    /Group +2 of 2 {2}\(signpipe list --group req-aaaaaaaa\)/,
  );
});
