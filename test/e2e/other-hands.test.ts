import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Enclosure, EnclosureRole } from "../../src/core/identity.ts";
import { toRequestId } from "../../src/core/request.ts";
import { runCommand } from "../helpers/cli-house.ts";
import { type House, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";

const SIGNER_ACTS = { humans: { signer: "auto" as const, signerDelayMs: 0 } };

async function giveCode(house: House, id: string): Promise<void> {
  await house.waits(id, "code");
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const approvals = ({ simulator }: House) => simulator.calls.get("approveVideoId") ?? 0;

describe("people of the provider", () => {
  test("who validate before the approval are waited for; what was decided before is carried out then", async () => {
    const house = await startHouse({ simulator: { ...SIGNER_ACTS, scenarios: ["two-step"] } });
    const id = await house.submit();
    await house.waits(id, "approval");
    await house.call("POST", `/v1/requests/${id}/approve`);
    await house.waits(id, "validation");
    const pk = (await house.app.store.get(id)).facts["requestPk"] as number;
    expect([house.simulator.statusOf(pk), approvals(house)]).toEqual(["VIDEOREVIEW", 1]);
    house.simulator.validate(pk);
    await giveCode(house, id);
    await house.reaches(id, "cleanup", "done");
    expect(["validate", "approve", "sign"].map(house.effects)).toEqual([1, 1, 1]);
    expect((await house.app.store.get(id)).facts["approvedBy"]).toBe("api:admin");
  });

  test("who validate by themselves hold nothing up where approval is by policy", async () => {
    const house = await startHouse({
      settings: { APPROVAL: "auto" },
      simulator: { ...SIGNER_ACTS, scenarios: ["operator-validates"] },
    });
    const id = await house.submit();
    await giveCode(house, id);
    await house.reaches(id, "cleanup", "done");
    expect(["validate", "approve", "sign"].map(house.effects)).toEqual([1, 1, 1]);
  });

  test("who approve, after a validation or without one, leave nothing for us to approve", async () => {
    for (const scenario of ["operator-approves", "operator-does-all"] as const) {
      const house = await startHouse({ simulator: { scenarios: [scenario] } });
      house.simulator.set(SIGNER_ACTS);
      const id = await house.submit();
      await giveCode(house, id);
      await house.reaches(id, "cleanup", "done");
      expect([scenario, approvals(house), house.effects("approve")]).toEqual([scenario, 0, 1]);
      expect((await house.app.store.get(id)).facts["approvedBy"]).toBe("provider");
    }
  });
});

describe("an authentication of ours", () => {
  const UNLOCK = "canary-operation-9";
  const SECRET = "canary-secret-9";
  const authentication = { method: "external", type: "biometric", value: UNLOCK, secret: SECRET };

  test("signs without anybody's doing, through every door, also where a secret is wanted beside it", async () => {
    const house = await startHouse({
      settings: { APPROVAL: "auto" },
      simulator: { ...SIGNER_ACTS, secretBesideUnlock: true, credentials: { extUnlockTypes: ["biometric"] } },
    });
    await house.app.startInbox();
    const byApi = await house.submit({ authentication });

    writeFileSync(join(house.dataDir, "inbox", "lease.pdf"), await samplePdf());
    writeFileSync(join(house.dataDir, "inbox", "lease.pdf.json"), JSON.stringify({ signer: SIGNER, authentication }));

    const [pdf, manifest] = [join(house.dataDir, "cli.pdf"), join(house.dataDir, "cli.json")];
    writeFileSync(pdf, await samplePdf());
    writeFileSync(manifest, JSON.stringify({ signer: SIGNER, authentication }));
    const env = { API_URL: house.api, API_KEY: house.keyRing.apiKeys[0]?.secret ?? "", DATA_DIR: house.dataDir };
    const { exitCode, out } = await runCommand(["submit", pdf, "--manifest", manifest, "--wait"], { env });
    expect(exitCode).toBe(0);

    await house.reaches(byApi, "cleanup", "done");
    await house.reaches(out.trim(), "cleanup", "done");
    const status = () => {
      try {
        return readFileSync(join(house.dataDir, "status", "lease.pdf.status.json"), "utf8");
      } catch {
        return "";
      }
    };
    await expect.poll(status, { timeout: 20_000 }).toContain('"done"');
    expect([house.effects("otp"), house.effects("sign")]).toEqual([0, 3]);
    expect(house.logged()).not.toMatch(/canary-(operation|secret)-9/);
    expect(JSON.stringify(await house.app.store.get(byApi))).not.toMatch(/canary-(operation|secret)-9/);
  });

  test("without the secret that the provider wants fails and says so", async () => {
    const house = await startHouse({
      settings: { APPROVAL: "auto" },
      simulator: { ...SIGNER_ACTS, secretBesideUnlock: true },
    });
    const id = await house.submit({ authentication: { method: "external", type: "biometric", value: UNLOCK } });
    await house.reaches(id, "cleanup", "failed");
    expect((await house.app.store.get(id)).failure).toMatchObject({ stage: "sign", code: "invalid-input" });
    expect(house.effects("sign")).toBe(0);
  });
});

test("a code goes by the way that the manifest names", async () => {
  const house = await startHouse({ settings: { APPROVAL: "auto" }, simulator: SIGNER_ACTS });
  const id = await house.submit({ authentication: { method: "sms", delivery_method: "whatsapp" } });
  await giveCode(house, id);
  await house.reaches(id, "cleanup", "done");
  expect(house.simulator.outbox.map(({ delivery_method }) => delivery_method)).toEqual(["whatsapp"]);
});

describe("signing in the background", () => {
  /** Hands a classic request in, which the provider signs behind its answer. */
  async function submit(house: House): Promise<string> {
    const id = toRequestId(randomBytes(16));
    const { documents, pipeline } = house.app;
    mkdirSync(documents.folder(id), { recursive: true, mode: 0o700 });
    const keep = async (file: string, name: string, bytes: Uint8Array) => {
      writeFileSync(join(documents.folder(id), file), bytes);
      return await documents.inspect(id, file, name);
    };
    const jpeg = Buffer.concat([Buffer.from("ffd8ffe000104a46494600010100000100010000", "hex"), randomBytes(200)]);
    const picture = async (role: EnclosureRole): Promise<Enclosure> => ({
      ...(await keep(role, role, jpeg)),
      name: role,
      contentType: "image/jpeg",
    });
    await pipeline.submit({
      id,
      workflow: "classic",
      source: "api",
      documents: [await keep("1.pdf", "lease.pdf", await samplePdf())],
      enclosures: [await picture("document_front"), await picture("document_rear")],
      signer: {
        ...SIGNER,
        surname_1: "Lopez",
        serial_number: "A1234567",
        id_document_type: "IDC",
        id_document_country: "ES",
      },
      useasync: true,
      authentication: { method: "sms" },
      by: "api:test",
    });
    return id;
  }

  test("is told of at our callback address, which is sent along", async () => {
    const [port, secret] = [await freePort(), "a-secret-of-the-webhook-1234"];
    const house = await startHouse({
      settings: {
        APPROVAL: "auto",
        API_PORT: String(port),
        WEBHOOK_SECRET: secret,
        ONESHOT_CALLBACK_URL: `http://127.0.0.1:${port}/webhooks/oneshot/${secret}`,
      },
      simulator: { asyncSignMs: 500 },
    });
    house.simulator.set({ webhookUrl: null });
    const id = await submit(house);
    await giveCode(house, id);
    await house.waits(id, "certificate");
    await house.reaches(id, "cleanup", "done", 30_000);
    expect([house.effects("sign-accepted"), house.effects("sign")]).toEqual([1, 1]);
    const metrics = await fetch(`${house.api}/metrics`, {
      headers: { authorization: `Bearer ${house.keyRing.apiKeys[0]?.secret ?? ""}` },
    });
    const told = /signpipe_webhooks_total\{outcome="accepted"\} (\d+)/.exec(await metrics.text())?.[1];
    expect(Number(told)).toBeGreaterThan(0);
  });

  test("is found by looking, where nobody tells", async () => {
    const house = await startHouse({
      settings: { APPROVAL: "auto" },
      simulator: { scenarios: ["lost-webhooks"], asyncSignMs: 500 },
    });
    const id = await submit(house);
    await giveCode(house, id);
    await house.reaches(id, "cleanup", "done", 30_000);
    expect([house.effects("sign-accepted"), house.effects("sign")]).toEqual([1, 1]);
  });

  test("of which nothing comes is found out after a grace; a new code signs, once", async () => {
    const house = await startHouse({
      settings: { APPROVAL: "auto", ASYNC_GRACE_MS: "2500" },
      simulator: { scenarios: ["async-fails"], asyncSignMs: 200, otpGuardMs: 50 },
    });
    const id = await submit(house);
    await giveCode(house, id);
    await house.waits(id, "certificate");
    await house.waits(id, "a new OTP", 30_000);
    const { body } = await house.call("GET", `/v1/requests/${id}`);
    expect((body["waiting"] as { detail?: string }).detail).toMatch(/has not signed/);
    expect([house.effects("sign-accepted"), house.effects("sign-failed")]).toEqual([1, 1]);

    house.simulator.set({ asyncOutcome: "signed" });
    // The minute passes: the record's own note of it is set back, since nobody wants to wait for it.
    await house.app.store.change(id, ({ facts }) => ({
      event: "note",
      patch: { facts: { otp: { ...(facts["otp"] as object), sentMs: Date.now() - 61_000 } } },
    }));
    expect((await house.call("POST", `/v1/requests/${id}/code/resend`)).status).toBe(202);
    await giveCode(house, id);
    await house.reaches(id, "cleanup", "done", 30_000);
    expect([house.effects("sign-accepted"), house.effects("sign")]).toEqual([2, 1]);
  });
});
