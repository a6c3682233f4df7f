import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { ConfigError, readSettings } from "../../src/config.ts";
import { readInboxes } from "../../src/inboxes.ts";
import { resultFolder } from "../../src/producers/inbox/delivery.ts";
import { toGlobTest } from "../../src/producers/inbox/ignore.ts";
import { readManifest } from "../../src/producers/manifest.ts";

const dir = mkdtempSync(join(tmpdir(), "signpipe-inboxes-"));
afterAll(() => rmSync(dir, { recursive: true }));
const path = join(dir, "inboxes.json");
const TENANTS = {
  byName: new Map([["acme", { raos: new Map([["maria", {}]]) } as never]]),
};

function read(file: unknown) {
  writeFileSync(path, typeof file === "string" ? file : JSON.stringify(file));
  const env = { DATA_DIR: join(dir, "data"), INBOXES_FILE: path };
  return readInboxes(readSettings(env, { envFile: join(dir, "none") }), TENANTS);
}

function problems(file: unknown): string[] {
  try {
    read(file);
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n");
    throw error;
  }
  throw new Error("it can be used");
}

describe("inboxes", () => {
  test("come from INBOXES_FILE, with lengths of time as people write them and paths from the file's own folder", () => {
    const [legal] = read([
      {
        name: "legal",
        path: "share/legal",
        tenant: "acme",
        rao: "maria",
        workflow: "videoid",
        defaults: { reference: "legal" },
        settle: "250ms",
        folder_settle: "10s",
        sweep: "1m",
        protocol: "done-file",
        duplicates: "link",
        on_success: "keep",
        folders: { signed: "firmados" },
        ignore: ["*.bak"],
        in_flight: 3,
        results: "{date}/{name}",
        purge: { failed: "30d" },
      },
    ]);
    expect(legal?.root).toEqual({
      name: "legal",
      dir: join(dir, "share/legal"),
      folders: { signed: "firmados" },
      tenant: "acme",
      defaults: { reference: "legal", rao: "maria", workflow: "videoid" },
      results: "{date}/{name}",
    });
    expect(legal?.config).toMatchObject({
      settleMs: 250,
      folderSettleMs: 10_000,
      sweepMs: 60_000,
      protocol: "done-file",
      duplicates: "link",
      onSuccess: "keep",
      ignore: ["*.bak"],
      inFlight: 3,
      purgeMs: { failed: 30 * 86_400_000 },
    });
  });

  test("may be divided into folders that say whose a file is, with those that there may be", () => {
    const [routed] = read([
      {
        name: "legal",
        path: "legal",
        route: "{tenant}/in/{workflow}/{profile}/{batch}",
        route_values: { profile: ["long", "short"], workflow: ["videoid"] },
        in_flight_per_tenant: 4,
      },
    ]);
    expect(routed?.root.route).toEqual({
      levels: [
        { word: "tenant", values: ["acme"] },
        { word: undefined, values: ["in"] },
        { word: "workflow", values: ["videoid"] },
        { word: "profile", values: ["long", "short"] },
      ],
      onlyFolders: true,
    });
    expect(routed?.config.inFlightPerTenant).toBe(4);
  });

  test("may copy from a folder that is only read; what is kept of it may be in DATA_DIR", () => {
    const [scans] = read([
      {
        name: "scans",
        path: "data/inboxes/scans",
        mode: "copy",
        source: "mnt/scans",
        duplicates_for: "30d",
        oldest_most: "1h",
        heartbeat: true,
      },
    ]);
    expect(scans?.root).toMatchObject({ dir: join(dir, "data/inboxes/scans"), source: join(dir, "mnt/scans") });
    expect(scans?.config).toMatchObject({ duplicatesMs: 30 * 86_400_000, oldestMostMs: 3_600_000, heartbeat: true });
  });

  test("settle for a share as long as its files may look as they were, unless somebody has said for how long", () => {
    const [one, two, three] = read([
      { name: "a", path: "a" },
      { name: "b", path: "b", settle: "1s" },
      { name: "c", path: "c", protocol: "rename-in" },
    ]);
    expect([one, two, three].map((each) => each?.config.settlesForShare)).toEqual([true, false, false]);
  });

  test("without the file there is none", () => {
    const env = { DATA_DIR: dir };
    expect(readInboxes(readSettings(env, { envFile: join(dir, "none") }))).toEqual([]);
  });

  const legal = { name: "legal", path: "legal" };
  test.each<[string, unknown, RegExp]>([
    ["no JSON", "[", /the file is not JSON/],
    ["no list", {}, /the file must be a list in brackets/],
    ["nothing in it", [], /names no inbox/],
    ["a key twice", '[{"name": "a", "path": "a", "path": "b"}]', /something twice/],
    ["a misspelt key", [{ ...legal, setle: "5s" }], /legal\.setle is not known here/],
    ["no path", [{ name: "legal" }], /legal\.path is missing/],
    ["a number without a unit", [{ ...legal, settle: "5" }], /legal\.settle must be a length of time like "30s"/],
    ["a name that is taken", [{ name: "default", path: "x" }], /name is that of the inbox in DATA_DIR/],
    ["one name for two", [legal, { ...legal, path: "other" }], /legal is there twice/],
    ["one folder in the other", [legal, { name: "b", path: "legal/b" }], /one in the other/],
    ["a folder of DATA_DIR", [{ name: "b", path: "data/inbox" }], /is in DATA_DIR/],
    ["a tenant that there is not", [{ ...legal, tenant: "other" }], /tenant is not one of those that there are: acme/],
    [
      "an officer that there is not",
      [{ ...legal, tenant: "acme", rao: "jose" }],
      /rao is not one of the tenant's: maria/,
    ],
    [
      "defaults that cannot be used",
      [{ ...legal, defaults: { workflw: "videoid" } }],
      /legal\.defaults\.workflw is not a key/,
    ],
    ["two folders with one name", [{ ...legal, folders: { signed: "failed" } }], /same name twice/],
    [
      "a way out of the folder",
      [{ ...legal, folders: { signed: "../x" } }],
      /folders\.signed must be the name of a folder/,
    ],
    ["a word that no result has", [{ ...legal, results: "{signer}" }], /results must be names of folders/],
    ["a route without a folder", [{ ...legal, route: "{batch}" }], /legal\.route has no folder above/],
    ["a route with a word that there is not", [{ ...legal, route: "{signer}" }], /legal\.route must be folders/],
    ["a route that leads out of it", [{ ...legal, route: "../{tenant}" }], /legal\.route must be folders/],
    ["a batch that is not the last", [{ ...legal, route: "{batch}/{tenant}" }], /legal\.route must be folders/],
    ["one word for two folders", [{ ...legal, route: "{tenant}/{tenant}" }], /route has \{tenant\} twice/],
    ["folders that go too deep", [{ ...legal, route: "a/b/c/d/e/f/g" }], /more than 6 folders/],
    [
      "a route whose folders nobody has named",
      [{ ...legal, route: "{profile}" }],
      /route_values\.profile is missing: it says which/,
    ],
    [
      "a tenant of a route that there is not",
      [{ ...legal, route: "{tenant}", route_values: { tenant: ["other"] } }],
      /route_values\.tenant has one that there is not: there are acme/,
    ],
    [
      "two folders that a share may not tell apart",
      [{ ...legal, route: "{profile}", route_values: { profile: ["a", "A"] } }],
      /differ in capitals alone/,
    ],
    ["folders of no route", [{ ...legal, route_values: { profile: ["a"] } }], /route_values goes with a route only/],
    [
      "folders of another word",
      [{ ...legal, route: "{tenant}", route_values: { profile: ["a"] } }],
      /route_values\.profile is not in the route/,
    ],
    [
      "a tenant that is said twice",
      [{ ...legal, route: "{tenant}", tenant: "acme" }],
      /tenant is said by the route already/,
    ],
    [
      "a profile that is said twice",
      [{ ...legal, route: "{profile}", route_values: { profile: ["a"] }, defaults: { profile: "b" } }],
      /defaults say profile, and so does the route/,
    ],
    ["a copy from nowhere", [{ ...legal, mode: "copy" }], /legal\.source is missing/],
    ["a source that nothing is copied from", [{ ...legal, source: "x" }], /source goes with "mode": "copy" only/],
    ["a source in its own folder", [{ ...legal, mode: "copy", source: "legal/in" }], /source and path are one in/],
    ["a source in DATA_DIR", [{ ...legal, mode: "copy", source: "data/inbox" }], /source is in DATA_DIR/],
    [
      "a source that is another's inbox",
      [legal, { name: "b", path: "b", mode: "copy", source: "legal" }],
      /source and a folder of legal are one in the other/,
    ],
    ["a purge within the hour", [{ ...legal, purge: { failed: "5m" } }], /purge\.failed must be at least "1h"/],
  ])("of %s it is said what is wrong with which field", (_, file, what) => {
    expect(problems(file).join("\n")).toMatch(what);
  });

  test("what is wrong with a person's data is said without it", () => {
    const said = problems([{ ...legal, defaults: { signer: { email: "canary-address" } } }]).join("\n");
    expect(said).toMatch(/defaults\.signer\.email/);
    expect(said).not.toContain("canary-address");
  });
});

describe("what a manifest leaves out", () => {
  const under = {
    workflow: "videoid",
    rao: "maria",
    signer: { email: "a@example.com", mobile_phone_number: "+34600000001" },
  };

  test("is taken from the inbox, of the signer each field by itself", () => {
    const read = readManifest({ signer: { mobile_phone_number: "+34600000002" } }, { under });
    expect(read).toMatchObject({
      ok: true,
      manifest: { rao: "maria", signer: { email: "a@example.com", mobile_phone_number: "+34600000002" } },
    });
  });

  test("does not take it to another tenant than the inbox's", () => {
    expect(readManifest({ tenant: "other" }, { under, tenant: "acme" })).toMatchObject({
      ok: false,
      problems: [{ field: "tenant" }],
    });
    expect(readManifest({}, { under, tenant: "acme" })).toMatchObject({ ok: true, manifest: { tenant: "acme" } });
  });
});

describe("W30: globs", () => {
  test.each([
    ["*.bak", "x.BAK", true],
    ["*.bak", "x.bak.pdf", false],
    ["draft-?.pdf", "draft-1.pdf", true],
    ["draft-?.pdf", "draft-10.pdf", false],
    ["[ab].pdf", "b.pdf", true],
    ["[ab].pdf", "c.pdf", false],
    ["a.b", "axb", false],
    ["(x)+.pdf", "(x)+.pdf", true],
  ])("%s on %s: %s", (glob, name, hits) => {
    expect(toGlobTest(glob)(name)).toBe(hits);
  });
});

describe("W37: the folder of results", () => {
  const claim = {
    id: "req-00000000000000000000000000",
    raw: "../a b/lease.pdf",
    claimedMs: Date.parse("2026-03-01T12:00:00Z"),
  };
  test.each([
    ["{requestId}", claim.id],
    ["{date}/{name}", "2026-03-01/__a b_lease"],
    ["{tenant}/{reference}", "acme/loan-1"],
  ])("%s", (template, folder) => {
    expect(resultFolder(template, claim, { facts: { tenant: "acme" }, reference: "loan-1" })).toBe(folder);
  });
  test("never leads out of it, and is never hidden", () => {
    const path = resultFolder("{reference}/x", claim, { facts: {}, reference: "../../.ssh" });
    expect(path.split("/")).toHaveLength(2);
    expect(path).not.toMatch(/^\.|\/\./);
  });
});
