import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type House, samplePdf, startHouse } from "../helpers/house.ts";

/** What the simulated provider knows: the credentials of acme, and nobody else's. */
const KNOWN = {
  rao: { username: "maria", password: "maria-password", pin: "maria-pin", rao: "1400" },
  billing: { username: "acme", password: "acme-billing" },
};
const ACME = {
  registration_authority: 139,
  profile: "PFnubeQAFCiudadano",
  billing_username: "acme",
  billing_password: "acme-billing",
  raos: {
    maria: { rao: 1400, username: "maria", password: "maria-password", pin: "maria-pin" },
    eva: { rao: 1401, username: "eva", password: "wrong", pin: "wrong" },
  },
};
const BETA = {
  ...ACME,
  billing_username: "beta",
  billing_password: "wrong",
  raos: { jose: { rao: 1402, token: "beta-token" } },
};

function fileOf(tenants: object): string {
  const dir = mkdtempSync(join(tmpdir(), "signpipe-tenants-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, "tenants.json"), JSON.stringify(tenants), { mode: 0o600 });
  return join(dir, "tenants.json");
}

async function start(tenants: object, more: Parameters<typeof startHouse>[0] = {}): Promise<House> {
  const settings = { TENANTS_FILE: fileOf(tenants), APPROVAL: "auto", ...more.settings };
  const simulator = { credentials: KNOWN, humans: { signer: "auto" as const } };
  return await startHouse({ ...more, simulator, settings });
}

const isWaitingFor = async (house: House, id: string) => (await house.app.store.get(id)).waiting?.for;

test("each call carries its own tenant's account, and rejected credentials stop that tenant's calls alone", async () => {
  const house = await start({ acme: ACME, beta: BETA });
  const beta = await house.submit({ tenant: "beta" });
  await house.waits(beta, "an accepted billing account");
  const eva = await house.submit({ tenant: "acme", rao: "eva" });
  await house.waits(eva, "accepted RAO credentials");
  const details = await Promise.all([beta, eva].map(async (id) => (await house.app.store.get(id)).waiting?.detail));
  expect(details).toEqual([
    expect.stringMatching(/^Creations of beta stand still: .* in TENANTS_FILE and restart/),
    expect.stringMatching(/^Approvals, .* of acme\/eva stand still/),
  ]);

  const acme = await house.submit({ tenant: "acme" });
  await house.waits(acme, "code");
  // That others' credentials were accepted is no reason to try the rejected ones once more.
  const { body } = await house.call("GET", "/v1/lanes");
  expect((body["items"] as { whose: string }[]).map(({ whose }) => whose).sort()).toEqual(["acme/eva", "beta"]);
  expect(await isWaitingFor(house, beta)).toBe("an accepted billing account");
  expect(await isWaitingFor(house, eva)).toBe("accepted RAO credentials");

  const { facts } = await house.app.store.get(eva);
  expect(facts).toMatchObject({ tenant: "acme", rao: "eva" });
  expect((await house.call("GET", `/v1/requests/${acme}`)).body).toMatchObject({ tenant: "acme" });
  expect((await house.call("GET", "/v1/requests?tenant=beta")).body["items"]).toMatchObject([{ id: beta }]);
  expect(house.logged()).not.toMatch(/maria-p|acme-billing/);
});

test("a tenant, or a RAO of it, that there is not is refused as it is handed in, and told which there are", async () => {
  const house = await start({ acme: ACME }, { work: false });
  await expect(house.submit({ tenant: "gamma" })).rejects.toThrow(
    /422.*There is no tenant \\"gamma\\": there are default, acme.*"unknown-tenant"/,
  );
  await expect(house.submit({ tenant: "acme", rao: "jose" })).rejects.toThrow(/422.*there are maria, eva/);
  const { states } = await house.app.pipeline.counts();
  expect(Object.values(states).reduce((sum, one) => sum + one)).toBe(0);
});

test("the same document for the same signer is a duplicate within a tenant, and not across two", async () => {
  const house = await start({ acme: ACME, beta: BETA }, { work: false });
  const bytes = await samplePdf();
  const inbox = await house.app.startInbox();
  onTestFinished(() => inbox.stop());
  const drop = (name: string, manifest: object) => {
    const signer = { email: "ana@example.com", mobile_phone_number: "+34699000111" };
    writeFileSync(join(house.dataDir, "inbox", `${name}.pdf.json`), JSON.stringify({ signer, ...manifest }));
    writeFileSync(join(house.dataDir, "inbox", `${name}.pdf`), bytes);
  };
  const items = async () => (await house.call("GET", "/v1/requests")).body["items"] as { tenant?: string }[];
  for (const [name, manifest, count] of [
    ["one", { tenant: "acme" }, 1],
    ["two", { tenant: "beta" }, 2],
    ["three", {}, 3],
  ] as const) {
    drop(name, manifest);
    await expect.poll(async () => (await items()).length, { timeout: 15_000 }).toBe(count);
  }
  for (const [name, manifest] of [
    ["again", { tenant: "acme" }],
    ["default", { tenant: "default" }],
  ] as const) {
    drop(name, manifest);
    await expect
      .poll(() => existsSync(join(house.dataDir, "duplicates", `${name}.pdf`)), {
        timeout: 15_000,
      })
      .toBe(true);
  }
  expect((await items()).map(({ tenant }) => tenant)).toEqual([undefined, "beta", "acme"]);
});

test("requests of a tenant that was taken out wait for it, and go on once it is back", async () => {
  const first = await start({ acme: ACME }, { work: false });
  const id = await first.submit({ tenant: "acme" });
  const { settings } = first.app;
  const more = {
    dataDir: first.dataDir,
    settings: {
      REDIS_PREFIX: settings.REDIS_PREFIX,
      MASTER_KEY: Buffer.from(first.keyRing.masterKey).toString("base64"),
    },
  };
  await first.app.close();

  const without = await start({ other: ACME }, more);
  await without.waits(id, "a configured tenant");
  const request = await without.app.store.get(id);
  expect(request.waiting).toMatchObject({
    whose: "operator",
    detail: expect.stringContaining('The tenant "acme" is not set in TENANTS_FILE'),
  });
  expect([request.attempt, request.failure]).toEqual([0, undefined]);
  await without.app.close();

  const back = await start({ acme: ACME }, more);
  await back.waits(id, "code", 40_000);
});
