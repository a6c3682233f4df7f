import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startSimulator } from "../../src/simulator/index.ts";
import { runCommand } from "../helpers/cli-house.ts";

const MARIA = { username: "9001800", password: "canary pass,word ", pin: "canary-pin" };

async function start() {
  const simulator = await startSimulator({ credentials: { tokens: ["3bf8d8eb-d96c-41ea-83ad-d78a7016c7da"] } });
  const dir = mkdtempSync(join(tmpdir(), "signpipe-token-"));
  onTestFinished(async () => {
    await simulator.close();
    rmSync(dir, { recursive: true });
  });
  const put = (name: string, content: string) => {
    writeFileSync(join(dir, name), content, { mode: 0o600 });
    return join(dir, name);
  };
  const tenants = (raos: object) => put("tenants.json", JSON.stringify({ acme: { env: "sandbox", raos } }));
  const env: Record<string, string> = { ONESHOT_URL: simulator.url, DATA_DIR: dir };
  const run = (args: string[], stdin = "") => runCommand(["token", ...args], { env, stdin });
  const listed = async () =>
    (JSON.parse((await run(["list", "--json"])).out) as { items: { uid: string; used_by: string[] }[] }).items;
  return { simulator, env, put, tenants, run, listed };
}

test("a token is made of what standard input says, line by line, and is shown once, alone", async () => {
  const { run, listed, simulator } = await start();
  const { exitCode, out, err } = await run(["create"], `${MARIA.username}\n${MARIA.password}\n${MARIA.pin}\n`);
  expect(exitCode, err).toBe(0);
  expect(out).toMatch(/^[0-9a-f-]{36}\n$/);
  expect(err).toMatch(/shown this once/);
  expect(`${out}${err}`).not.toMatch(/canary/);
  const stored = (await (await fetch(`${simulator.url}/token/${out.trim()}`)).json()) as object;
  expect(JSON.stringify(stored)).toContain('"username":"9001800","password":true,"pin":true');
  expect(JSON.stringify(await listed())).not.toContain(out.trim());
});

test("a token is made of files, without what is left empty", async () => {
  const { run, put } = await start();
  const args = ["create", "--username", "9001801", "--password-file", put("password", "canary\n"), "--json"];
  const { out } = await run(args, "\n");
  expect(JSON.parse(out)).toEqual({ token_uid: expect.stringMatching(/^[0-9a-f-]{36}$/) });
  const list = await run(["list"]);
  expect(list.out).toMatch(/9001801 +yes +no/);
});

test("a token is made of what the configuration has, and the list then says who uses it", async () => {
  const { run, tenants, env, put, listed } = await start();
  env["TENANTS_FILE"] = tenants({ maria: { rao: 1400, ...MARIA } });
  const { out, err, exitCode } = await run(["create", "--configured", "--tenant", "acme"]);
  expect(exitCode, err).toBe(0);
  env["TENANTS_FILE"] = tenants({ maria: { rao: 1400, token_file: put("token", out) } });
  expect((await listed()).filter(({ used_by }) => used_by.length > 0)).toEqual([
    {
      uid: `${out.slice(0, 8)}…`,
      username: MARIA.username,
      has_password: true,
      has_pin: true,
      used_by: ["acme/maria"],
    },
  ]);
  expect((await run(["list", "--tenant", "acme"])).out.trim().split("\n")).toHaveLength(2);
  const refused = await run(["delete", out.slice(0, 8)]);
  expect(refused).toMatchObject({ exitCode: 1, err: expect.stringMatching(/in use \(acme\/maria\): .* --yes/) });
  expect(await run(["delete", out.slice(0, 8), "--yes"])).toMatchObject({ exitCode: 0, err: "Deleted.\n" });
  expect((await listed()).filter(({ used_by }) => used_by.length > 0)).toEqual([]);
});

test("a token is deleted by its uid on standard input, which is in no process list", async () => {
  const { run, listed } = await start();
  const { out } = await run(["create"], "9001802\n\n\n");
  const before = (await listed()).length;
  expect(await run(["delete"], out)).toMatchObject({ exitCode: 0, err: "Deleted.\n" });
  expect(await run(["delete"], out)).toMatchObject({ exitCode: 0, err: "It was not there any more.\n" });
  expect(await listed()).toHaveLength(before - 1);
});

test.each<[string, string[], string, RegExp]>([
  ["another word", ["lend"], "", /^signpipe: What with tokens\? There are list, create, delete\.$/],
  ["a tenant that there is not", ["list", "--tenant", "acme"], "", /There is no tenant "acme": there are default\.$/],
  ["nobody", ["create"], "", /Whose token\?/],
  ["another environment", ["create", "--env", "test", "--username", "u"], "\n\n", /--env must be sandbox or prod\.$/],
  [
    "a file that is not there",
    ["create", "--username", "u", "--pin-file", "/nowhere"],
    "\n",
    /--pin-file: the file cannot be read \(ENOENT\)\.$/,
  ],
  ["nothing in the configuration", ["create", "--configured"], "", /has no user name, password and PIN/],
  ["too little of a uid", ["delete", "3bf8"], "", /at least 6 letters/],
  ["a uid that there is not", ["delete", "ffffffff"], "", /No token begins so/],
])("%s is refused in one sentence", async (_what, args, stdin, message) => {
  const { run } = await start();
  const { exitCode, err } = await run(args, stdin);
  expect(exitCode).toBe(1);
  expect(err.trim()).toMatch(message);
});

test("credentials that are stored already are told so, without showing them", async () => {
  const { run } = await start();
  const lines = Object.values(MARIA).join("\n");
  await run(["create"], lines);
  const { exitCode, err } = await run(["create"], lines);
  expect(exitCode).toBe(1);
  expect(err).toMatch(/already exist/);
  expect(err).not.toMatch(/canary/);
});

test("without a provider there is nobody to ask", async () => {
  const { exitCode, err } = await runCommand(["token", "list"], { env: { DATA_DIR: "/nowhere" } });
  expect([exitCode, err]).toEqual([
    1,
    "signpipe: There is no provider to ask: set ONESHOT_URL, or start signpipe with its simulator.\n",
  ]);
});
