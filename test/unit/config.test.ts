import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { ConfigError, readSettings } from "../../src/config.ts";
import { findMasterKey, readApiKeys, readKeys } from "../../src/keys.ts";
import { createLog } from "../../src/log.ts";

const dir = mkdtempSync(join(tmpdir(), "signpipe-config-"));
afterAll(() => rmSync(dir, { recursive: true }));
const read = (env: Record<string, string>, envFile = join(dir, "none")) => readSettings(env, { envFile });

describe("settings", () => {
  test("have defaults, so that a first start needs none", () => {
    expect(read({})).toMatchObject({ API_PORT: 8080, APPROVAL: "manual", DELETE_GRACE_MS: 0, API_HOST: "127.0.0.1" });
  });

  test("come from the environment before .env, and from files for secrets", () => {
    const envFile = join(dir, ".env");
    writeFileSync(envFile, '# ours\nAPI_PORT=1\nexport ONESHOT_RAO="14 00" \nAPPROVAL=auto # always\nODD=1\n');
    writeFileSync(join(dir, "pin"), "9000\n");
    const settings = read({ API_PORT: "2", ONESHOT_RAO_PIN_FILE: join(dir, "pin") }, envFile);
    expect(settings).toMatchObject({ API_PORT: 2, ONESHOT_RAO: "14 00", APPROVAL: "auto", ONESHOT_RAO_PIN: "9000" });
  });

  test.each([
    [{ API_PORT: "many" }, /^API_PORT cannot be used: it must be a whole number/],
    [{ API_PORT: "70000" }, /^API_PORT cannot be used: it must be at most 65535/],
    [{ LOCK_MS: "5" }, /^LOCK_MS cannot be used: it must be at least 1000/],
    [
      { INBOX_SETTLE_MS: "5s" },
      /^INBOX_SETTLE_MS cannot be used: it must be a whole number of milliseconds, like 5000/,
    ],
    [{ MAX_DOCUMENT_BYTES: "1G" }, /^MAX_DOCUMENT_BYTES cannot be used: it must be a whole number of bytes/],
    [{ APPROVAL: "maybe" }, /^APPROVAL cannot be used: it must be manual or auto/],
    [{ METRICS_OPEN: "maybe" }, /^METRICS_OPEN cannot be used: it must be true or false/],
    [{ ONESHOT_URL: "ftp://x" }, /^ONESHOT_URL cannot be used: it must be an address like https:/],
    [{ REDIS_URL: "127.0.0.1:6379" }, /^REDIS_URL cannot be used: it must be an address like redis:/],
    [{ REDIS_URL: "localhost:6379" }, /^REDIS_URL cannot be used: it must be an address like redis:/],
    [{ CALLBACK_HOSTS: "http://crm.example/" }, /^CALLBACK_HOSTS cannot be used: it must be hosts like/],
    [{ ONESHOT_RAO_PIN_FILE: "/nowhere/pin" }, /^ONESHOT_RAO_PIN_FILE names a file that cannot be read/],
    [{ MASTER_KEY_FILE: "/dev/null" }, /^MASTER_KEY_FILE names a file that is empty/],
    [{ API_KEYS: "a:12345678", API_KEYS_FILE: "/x" }, /^API_KEYS and API_KEYS_FILE are both set: keep one/],
    [{ REDIS_PREFIX: "no-tag" }, /^REDIS_PREFIX cannot be used: it must be letters/],
  ])("%o is refused by name, with what it must be", (env, message) => {
    expect(() => read(env)).toThrow(ConfigError);
    expect(() => read(env)).toThrow(message);
  });

  test("a name in .env that is misspelt is refused, and not left out without a word", () => {
    const envFile = join(dir, ".env-misspelt");
    writeFileSync(envFile, "ONESHOT_ULR=https://one-shot.example/oneshot/api/v1\nSIGNPIPE_USER=1\nAPI_KEYS_FILE=\n");
    expect(() => read({ ONESHOT_PORT: "tcp://10.0.0.1:80" }, envFile)).toThrow(
      /^ONESHOT_ULR in .* is not a setting: correct its name/,
    );
    writeFileSync(envFile, "SIGNPIPE_USER=1\nAPI_KEYS_FILE=\n");
    expect(read({ ONESHOT_PORT: "tcp://10.0.0.1:80" }, envFile).API_PORT).toBe(8080);
  });

  test("in a file of the environment count before the plain ones of .env; set to nothing, they are not given", () => {
    const envFile = join(dir, ".env-plain");
    writeFileSync(envFile, "ONESHOT_RAO_PIN=old\nONESHOT_RAO=1400\nCALLBACK_HOSTS=crm.example, 10.0.0.5:8080\n");
    writeFileSync(join(dir, "new-pin"), "new\n");
    const settings = read(
      { ONESHOT_RAO_PIN: "", ONESHOT_RAO_PIN_FILE: join(dir, "new-pin"), ONESHOT_RAO: "" },
      envFile,
    );
    expect(settings).toMatchObject({ ONESHOT_RAO_PIN: "new", CALLBACK_HOSTS: "crm.example, 10.0.0.5:8080" });
    expect(settings.ONESHOT_RAO).toBeUndefined();
  });
});

describe("keys", () => {
  test("that are not given are made once, for the owner alone", () => {
    const settings = read({ DATA_DIR: join(dir, "data") });
    const first = readKeys(settings);
    const second = readKeys(settings);
    expect(second).toEqual(first);
    expect(first.masterKey).toHaveLength(32);
    expect(first.keptIn).toHaveLength(3);
    for (const path of first.keptIn) expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(first.keptIn[0] ?? "", "utf8")).toContain(first.apiKeys[0]?.secret);
  });

  test("of the API are neither read nor made up where no API is served", () => {
    const settings = read({ DATA_DIR: join(dir, "worker"), API_KEYS: "unusable", WEBHOOK_SECRET: "short" });
    const ring = readKeys(settings, { forApi: false });
    expect(ring).toMatchObject({ apiKeys: [], webhookSecret: "" });
    expect(readdirSync(join(dir, "worker", "keys"))).toEqual(["master-key"]);
    expect(readKeys(read({ DATA_DIR: join(dir, "worker") })).masterKey).toEqual(ring.masterKey);
  });

  test("that are given are kept nowhere", () => {
    const MASTER_KEY = Buffer.alloc(32, 7).toString("base64");
    const settings = read({
      DATA_DIR: join(dir, "given"),
      API_KEYS: "a:secret-one,b:secret-two",
      WEBHOOK_SECRET: "w".repeat(30),
      MASTER_KEY,
    });
    const ring = readKeys(settings);
    expect(ring.keptIn).toEqual([]);
    expect(ring.apiKeys).toEqual([
      { name: "a", secret: "secret-one" },
      { name: "b", secret: "secret-two" },
    ]);
  });

  test.each([
    [{ MASTER_KEY: "c2hvcnQ=" }, /^MASTER_KEY is not the Base64 of 32 bytes/],
    [{ WEBHOOK_SECRET: "short" }, /^WEBHOOK_SECRET needs at least 22/],
    [{ API_KEYS: "nosecret" }, /^API_KEYS: pair 1/],
  ])("%o is refused by name, without repeating it", (env, message) => {
    const go = () => readKeys(read({ DATA_DIR: join(dir, "bad"), ...env }));
    expect(go).toThrow(message);
    expect(go).not.toThrow(Object.values(env)[0] ?? "?");
  });

  test("a master key that is not the one of this DATA_DIR is refused, whoever asks", () => {
    const DATA_DIR = join(dir, "other-key");
    const key = (n: number) => Buffer.alloc(32, n).toString("base64");
    const right = read({ DATA_DIR, MASTER_KEY: key(1) });
    readKeys(right);
    const wrong = read({ DATA_DIR, MASTER_KEY: key(2) });
    for (const go of [() => readKeys(wrong), () => findMasterKey(wrong)]) {
      expect(go).toThrow(ConfigError);
      expect(go).toThrow(/was used with another MASTER_KEY.*Bring that one back/);
    }
    expect(() => readKeys(read({ DATA_DIR }))).toThrow(/MASTER_KEY is not set, and .*master-key is gone/);
    expect(findMasterKey(read({ DATA_DIR }))).toBeUndefined();
    expect(readKeys(right).masterKey).toEqual(findMasterKey(right));
  });

  test("a kept key that is damaged is named by its file, and never made anew", () => {
    const DATA_DIR = join(dir, "damaged");
    readKeys(read({ DATA_DIR }));
    const damage = (name: string) => writeFileSync(join(DATA_DIR, "keys", name), "");
    damage("master-key");
    expect(() => readKeys(read({ DATA_DIR }))).toThrow(/keys\/master-key is not .*; bring it back from your copy/);
    damage("webhook-secret");
    expect(() => readKeys(read({ DATA_DIR }))).toThrow(/keys\/webhook-secret needs at least 22.*Remove the file/);
    damage("api-keys");
    expect(() => readKeys(read({ DATA_DIR }))).toThrow(/keys\/api-keys is empty.*Correct the file/);
  });

  test("one a line is as good as commas", () => {
    expect(readApiKeys({ text: "a:secret-one\nb:secret-two\n", from: "API_KEYS" })).toHaveLength(2);
  });
});

test("a log line never shows a secret or a person, whoever logs it", () => {
  const lines: string[] = [];
  const log = createLog("info", { write: (line: string) => lines.push(line) > 0 } as unknown as NodeJS.WritableStream);
  log.info(
    {
      secret: "canary-1",
      signer: { email: "canary-2" },
      a: { password: "canary-3", b: { pin: "canary-4" } },
      requestId: "req-1",
    },
    "stage done",
  );
  log.info(
    { facts: { videoidLink: "canary-5" }, authorization: "canary-6", body: { token: "canary-7" } },
    "stage done",
  );
  const all = lines.join("");
  expect(all).toContain("req-1");
  expect(all).not.toContain("canary");
});
