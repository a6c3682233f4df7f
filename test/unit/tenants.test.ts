import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { allAccounts, createAccounts } from "../../src/account.ts";
import { ConfigError, readSettings, withoutSettings } from "../../src/config.ts";
import { readTenants } from "../../src/tenants.ts";

const dir = mkdtempSync(join(tmpdir(), "signpipe-tenants-"));
afterAll(() => rmSync(dir, { recursive: true }));
const path = join(dir, "tenants.json");

const ACME = {
  env: "prod",
  registration_authority: 139,
  profile: "PFacme",
  billing_username: "acme-billing",
  billing_password: "acme-billing-password",
  raos: {
    maria: { rao: 1400, token: "maria-token" },
    jose: { rao: "1401", username: "jose", password: "jose-password", pin: "jose-pin" },
  },
};
const OURS = { ONESHOT_RAO: "9", ONESHOT_RAO_TOKEN: "our-token", ONESHOT_PROFILE: "PFours", ONESHOT_ENV: "sandbox" };

function read(file: unknown, env: Record<string, string> = OURS, how?: { withSecrets: boolean }) {
  writeFileSync(path, typeof file === "string" ? file : JSON.stringify(file), { mode: 0o600 });
  return readTenants(readSettings({ ...env, TENANTS_FILE: path }, { envFile: join(dir, "none") }), how);
}
const accountsOf = (file: unknown, env?: Record<string, string>) => createAccounts(read(file, env));

describe("tenants", () => {
  test("come from TENANTS_FILE, beside the default one that the settings are", () => {
    const { account } = accountsOf({ acme: ACME });
    expect(account({ tenant: "acme" })).toEqual({
      env: "prod",
      registrationAuthority: "139",
      profile: "PFacme",
      billingUsername: "acme-billing",
      billingPassword: "acme-billing-password",
      rao: { rao: "1400", token: "maria-token" },
    });
    expect(account({ tenant: "acme", rao: "jose", profile: "PFother", registrationAuthority: "7" })).toMatchObject({
      profile: "PFother",
      registrationAuthority: "7",
      rao: { rao: "1401", username: "jose", password: "jose-password", pin: "jose-pin" },
    });
    expect(account({})).toMatchObject({ env: "sandbox", profile: "PFours", rao: { rao: "9", token: "our-token" } });
    expect(account({ tenant: "default" })).toEqual(account({}));
  });

  test("have secrets in files of their own, named from where the file itself is", () => {
    mkdirSync(join(dir, "secrets"));
    writeFileSync(join(dir, "secrets", "token"), "from a file\n");
    const { billing_password: _password, ...rest } = ACME;
    const acme = {
      ...rest,
      billing_password_file: "secrets/token",
      raos: { maria: { rao: 1400, token_file: join(dir, "secrets", "token"), password_file: "secrets/token" } },
    };
    expect(accountsOf({ acme }).account({ tenant: "acme" })).toMatchObject({
      billingPassword: "from a file",
      rao: { rao: "1400", token: "from a file", password: "from a file" },
    });
  });

  test("are known by name to processes that are not given their secrets", () => {
    const acme = { ...ACME, raos: { maria: { rao: 1400, token_file: "/run/secrets/not-here" } } };
    const tenants = read({ acme }, {}, { withSecrets: false });
    expect([...tenants.byName.keys()]).toEqual(["default", "acme"]);
    expect(() => createAccounts(tenants).mustKnow({ tenant: "acme", rao: "maria" })).not.toThrow();
    expect(() => createAccounts(tenants).mustKnow({})).not.toThrow();
    expect(() => createAccounts(tenants).mustKnow({ tenant: "acme", rao: "jose" })).toThrow(/there are maria$/);
  });

  test.each<[string, unknown, RegExp]>([
    ["a file that is not JSON", "{ acme", /^TENANTS_FILE: the file is not JSON \(docs/],
    [
      "the same name twice",
      `{"acme":${JSON.stringify(ACME)},"acme":${JSON.stringify(ACME)}}`,
      /something twice in one place/,
    ],
    ["no tenant", {}, /the file names no tenant/],
    ["a list", [], /the file must be an object/],
    ["a name that cannot be one", { "Acme Inc": ACME }, /Acme Inc must be the name of a tenant/],
    ["the name of ours", { default: ACME }, /default is the account of the ONESHOT_\* settings/],
    ["a field that is not known", { acme: { ...ACME, pasword: "x" } }, /acme\.pasword is not known here/],
    ["no RAO", { acme: { ...ACME, raos: {} } }, /acme\.raos has nobody/],
    ["no list of RAOs", { acme: { profile: "PF" } }, /acme\.raos is missing/],
    [
      "a RAO without a number",
      { acme: { ...ACME, raos: { maria: { token: "t" } } } },
      /acme\.raos\.maria\.rao is missing/,
    ],
    [
      "a RAO with a word for a number",
      { acme: { ...ACME, raos: { maria: { rao: "x", token: "t" } } } },
      /maria\.rao must be a number/,
    ],
    [
      "half a login",
      { acme: { ...ACME, raos: { maria: { rao: 1, username: "m" } } } },
      /acme\.raos\.maria needs a token, or/,
    ],
    [
      "two logins",
      { acme: { ...ACME, raos: { maria: { rao: 1, username: "m", token: "t" } } } },
      /has a token and a username/,
    ],
    ["another environment", { acme: { ...ACME, env: "test" } }, /acme\.env must be sandbox or prod/],
    ["a number for a text", { acme: { ...ACME, profile: 7 } }, /acme\.profile must be a text in quotes/],
    [
      "a secret twice",
      { acme: { ...ACME, billing_password_file: "x" } },
      /acme\.billing_password and \.billing_password_file are both there/,
    ],
    [
      "a file that is not there",
      { acme: { ...ACME, raos: { maria: { rao: 1, token_file: "gone" } } } },
      /acme\.raos\.maria\.token_file names a file that cannot be read/,
    ],
    [
      "an empty file",
      { acme: { ...ACME, raos: { maria: { rao: 1, token_file: "/dev/null" } } } },
      /maria\.token_file names a file that is empty/,
    ],
  ])("are refused in one sentence for %s", (_what, file, message) => {
    expect(() => read(file)).toThrow(ConfigError);
    expect(() => read(file)).toThrow(message);
  });

  test("are refused without showing what stands in the file", () => {
    const file = {
      acme: { ...ACME, env: "a-secret", profile: 7, raos: { maria: { rao: "a-secret", token: "a-secret" } } },
    };
    const told = (() => {
      try {
        read(file);
        return "";
      } catch (error) {
        return (error as Error).message;
      }
    })();
    expect(told.split("\n")).toHaveLength(3);
    expect(told).not.toContain("a-secret");
  });

  test("are warned about when others may read the secrets in the file", () => {
    read({ acme: ACME });
    const settings = readSettings({ ...OURS, TENANTS_FILE: path }, { envFile: join(dir, "none") });
    expect(readTenants(settings).warning).toBeUndefined();
    chmodSync(path, 0o640);
    expect(readTenants(settings).warning).toMatch(/can be read by others on this machine: chmod 600/);
    const { billing_password: _password, ...rest } = ACME;
    writeFileSync(path, JSON.stringify({ acme: { ...rest, raos: { maria: { rao: 1, token_file: "/dev/null" } } } }));
    expect(readTenants(settings, { withSecrets: false }).warning).toBeUndefined();
  });

  test("are not left out without a word when the setting is misspelt in .env", () => {
    const envFile = join(dir, ".env");
    writeFileSync(envFile, "TENANT_FILE=/x\n");
    expect(() => readSettings({}, { envFile })).toThrow(/^TENANT_FILE in .* is not a setting/);
    writeFileSync(envFile, "TENANTS_FILE=/x\n");
    expect(readSettings({}, { envFile }).TENANTS_FILE).toBe("/x");
  });

  test("are not handed to programs that need none", () => {
    expect(withoutSettings({ TENANTS_FILE: "/x", PATH: "/bin" })).toEqual({ PATH: "/bin" });
  });
});

describe("a request", () => {
  const accounts = accountsOf({ acme: ACME });

  test.each([
    [{ tenant: "beta" }, "unknown-tenant", 'There is no tenant "beta": there are default, acme'],
    [
      { tenant: "acme", rao: "eva" },
      "unknown-rao",
      'There is no RAO "eva" of the tenant "acme": there are maria, jose',
    ],
    [{ rao: "maria" }, "unknown-rao", 'There is no RAO "maria": there are default'],
  ])("that wishes for %o is refused, and told what there is", (wishes, code, message) => {
    expect(() => accounts.mustKnow(wishes)).toThrow(expect.objectContaining({ code, message, kind: "permanent" }));
  });

  test("that names no tenant is refused where all have names", () => {
    expect(() => accountsOf({ acme: ACME }, {}).mustKnow({})).toThrow("tenant is missing: there are acme");
  });

  test.each([
    [{ tenant: "beta" }, /^The tenant "beta" is not set in TENANTS_FILE: bring that back and restart, or cancel/],
    [{ tenant: "acme", rao: "eva" }, /^The tenant "acme" with the RAO "eva" is not set in TENANTS_FILE/],
  ])("of %o waits for an operator when it was taken out since", (wishes, message) => {
    const failure = { kind: "retryable", code: "tenant-not-configured", pause: { until: "a configured tenant" } };
    expect(() => accounts.account(wishes)).toThrow(expect.objectContaining(failure));
    expect(() => accounts.account(wishes)).toThrow(message);
  });

  test("of the default tenant waits for its settings", () => {
    expect(() => accountsOf({ acme: ACME }, {}).account({})).toThrow(
      /^ONESHOT_RAO and .* are not set: bring that back/,
    );
  });
});

test("every account there is has the names under which people know it", () => {
  const all = allAccounts(read({ acme: ACME }));
  expect(all.map(({ tenant, rao, account }) => [tenant, rao, account.rao.rao])).toEqual([
    ["default", "default", "9"],
    ["acme", "maria", "1400"],
    ["acme", "jose", "1401"],
  ]);
});
