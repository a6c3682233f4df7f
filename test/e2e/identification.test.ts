import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { killHard, startWorkProcess } from "../helpers/process.ts";
import { runCommand } from "../helpers/cli-house.ts";
import { type House, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";

const NEW_PHONE = "+34699000222";

async function pkOf(house: House, id: string): Promise<number> {
  return (await house.app.store.get(id)).facts["requestPk"] as number;
}

async function awaitIdentification(house: House, more: object = {}): Promise<{ id: string; pk: number }> {
  const id = await house.submit(more);
  await house.waits(id, "identification");
  return { id, pk: await pkOf(house, id) };
}

/** What people did, as the history has it. */
async function actsOn(house: House, id: string): Promise<string[]> {
  const lines = await house.app.store.history(id);
  return lines.filter(({ by }) => by !== undefined).map(({ note, by }) => `${note} by ${by}`);
}

async function orderOf(house: House, id: string): Promise<Record<string, unknown> | undefined> {
  return (await house.call("GET", `/v1/requests/${id}`)).body["order"] as Record<string, unknown> | undefined;
}

/** Waits until the last order is settled. */
async function settles(house: House, id: string, outcome: string): Promise<void> {
  await expect.poll(async () => (await orderOf(house, id))?.["outcome"], { timeout: 15_000 }).toBe(outcome);
}

async function bringToAnEnd(house: House, id: string): Promise<void> {
  house.simulator.identify(await pkOf(house, id), "complete");
  await house.waits(id, "approval");
  await house.call("POST", `/v1/requests/${id}/approve`);
  await house.waits(id, "code");
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.reaches(id, "cleanup", "done");
}

/** A caller's server: what it was told, by type. */
async function startCaller() {
  const heard: { type: string; data: Record<string, unknown> }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      heard.push(JSON.parse(Buffer.concat(chunks).toString()) as (typeof heard)[number]);
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { heard, host, url: `http://${host}/hook` };
}

function commandOn(house: House) {
  const env = { API_URL: house.api, API_KEY: house.keyRing.apiKeys[0]?.secret ?? "", DATA_DIR: house.dataDir };
  return (...argv: string[]) => runCommand(argv, { env });
}

/** All that was written to disk, and all that is in Redis, as text. */
function inFiles(folder: string): string {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return entries.map(({ parentPath, name }) => readFileSync(join(parentPath, name), "latin1")).join("\n");
}

async function inRedis({ app: { redis, keys } }: House): Promise<string> {
  const names = await redis.keys(`${keys.prefix.replaceAll(/[{}]/g, "[$&]")}*`);
  const dumps = await Promise.all(names.map((name) => redis.dumpBuffer(name)));
  return names.concat(dumps.map((dump) => dump?.toString("latin1") ?? "")).join("\n");
}

const phoneHash = (phone: string) => createHash("sha256").update(phone).digest("hex");

describe("a signer who does not identify can be reminded", () => {
  test("with the same link: whoever asks gets it, whoever follows is told, and it is counted", async () => {
    const caller = await startCaller();
    const house = await startHouse({ settings: { CALLBACK_HOSTS: caller.host } });
    const { id } = await awaitIdentification(house, { callback_url: caller.url });
    const link = (await house.call("GET", `/v1/requests/${id}`)).body["videoid_link"];
    await expect.poll(() => caller.heard.map(({ type }) => type), { timeout: 10_000 }).toContain("request.waiting");

    const answer = await house.call("POST", `/v1/requests/${id}/remind`);
    expect(answer).toMatchObject({ status: 202, body: { videoid_link: link, reminders: { count: 1 } } });
    await expect.poll(() => caller.heard.at(-1)?.type, { timeout: 10_000 }).toBe("request.reminded");
    expect(caller.heard.at(-1)?.data).toMatchObject({ state: "waiting", reminders: { count: 1 } });

    const { exitCode, out } = await commandOn(house)("remind", id);
    expect([exitCode, out.trim()]).toEqual([0, link]);
    expect(await actsOn(house, id)).toEqual([
      "submitted by api:admin",
      "reminded by api:admin",
      "reminded by api:admin",
    ]);
    expect((await commandOn(house)("show", id)).out).toMatch(/Reminded\s+2 times/);
    expect(house.effects("create")).toBe(1);
  });

  test("and the status beside the inbox shows it", async () => {
    const house = await startHouse();
    await house.app.startInbox();
    writeFileSync(join(house.dataDir, "inbox", "lease.pdf"), await samplePdf());
    writeFileSync(join(house.dataDir, "inbox", "lease.pdf.json"), JSON.stringify({ signer: SIGNER }));
    const status = () => {
      try {
        return JSON.parse(readFileSync(join(house.dataDir, "status", "lease.pdf.status.json"), "utf8")) as {
          request_id: string;
          videoid_link?: string;
          reminders?: { count: number };
        };
      } catch {
        return undefined;
      }
    };
    await expect.poll(() => status()?.videoid_link, { timeout: 15_000 }).toMatch(/^http/);
    const id = status()?.request_id ?? "";
    await house.waits(id, "identification");
    expect((await house.call("POST", `/v1/requests/${id}/remind`)).status).toBe(202);
    await expect.poll(() => status()?.reminders?.count, { timeout: 10_000 }).toBe(1);
  });

  test("but not once the identification is over", async () => {
    const house = await startHouse();
    const { id, pk } = await awaitIdentification(house);
    house.simulator.identify(pk, "complete");
    await house.waits(id, "approval");
    const late = await house.call("POST", `/v1/requests/${id}/remind`);
    expect(late).toMatchObject({ status: 409, body: { code: "not-possible-now" } });
  });
});

describe("a signer's data can be corrected", () => {
  test("at the provider, and the code goes to the corrected phone; it stands in clear nowhere else", async () => {
    const house = await startHouse();
    const { id, pk } = await awaitIdentification(house);
    house.simulator.identify(pk, "incomplete");
    const answer = await house.call("POST", `/v1/requests/${id}/correct`, { mobile_phone_number: NEW_PHONE });
    expect(answer).toMatchObject({
      status: 202,
      body: { order: { kind: "correction", fields: ["mobile_phone_number"] } },
    });
    await settles(house, id, "taken");
    expect(house.effects("update")).toBe(1);
    expect((await house.app.vault.read(id))?.signer).toEqual({ ...SIGNER, mobile_phone_number: NEW_PHONE });
    expect(await actsOn(house, id)).toContain("correction: mobile_phone_number by api:admin");
    expect((await house.app.store.history(id)).map(({ note }) => note)).toContain("correction taken");
    expect(`${house.logged()}${inFiles(house.dataDir)}${await inRedis(house)}`).not.toContain(NEW_PHONE.slice(1));

    await bringToAnEnd(house, id);
    expect(house.simulator.outbox.map(({ phone }) => phone)).toEqual([NEW_PHONE]);
    expect(house.effects("create")).toBe(1);
  });

  test("while a decision is due as well, on the command line", async () => {
    const house = await startHouse();
    const { id, pk } = await awaitIdentification(house);
    house.simulator.identify(pk, "complete");
    await house.waits(id, "approval");
    const { exitCode } = await commandOn(house)("correct", id, "--email", "ana.canary2@example.com");
    expect(exitCode).toBe(0);
    await settles(house, id, "taken");
    expect((await commandOn(house)("show", id)).out).toMatch(/Asked for\s+correction of email: taken/);
    expect((await house.app.store.get(id)).waiting?.for).toBe("approval");
    await bringToAnEnd(house, id);
  });

  test("and what the provider refuses stays as it was here as well, and is said", async () => {
    const house = await startHouse();
    const { id, pk } = await awaitIdentification(house);
    house.simulator.identify(pk, "complete");
    await house.waits(id, "approval");
    // The identification found the name out.
    await house.call("POST", `/v1/requests/${id}/correct`, { given_name: "Canela", mobile_phone_number: NEW_PHONE });
    await settles(house, id, "refused");
    expect(await orderOf(house, id)).toMatchObject({ code: "invalid-input" });
    expect((await house.app.vault.read(id))?.signer).toEqual(SIGNER);
    await bringToAnEnd(house, id);
    expect(house.simulator.outbox.map(({ phone }) => phone)).toEqual([SIGNER.mobile_phone_number]);
  });

  test("but nothing that is no correction, and nothing after the decision", async () => {
    const house = await startHouse();
    const { id, pk } = await awaitIdentification(house);
    const correct = (body: unknown) => house.call("POST", `/v1/requests/${id}/correct`, body);
    expect((await correct({})).status).toBe(400);
    expect((await correct({ email: "canary-no-address" })).status).toBe(400);
    expect(JSON.stringify(await correct({ nickname: "x" }))).toContain("nickname");
    house.simulator.identify(pk, "complete");
    await house.waits(id, "approval");
    await house.call("POST", `/v1/requests/${id}/approve`);
    await house.waits(id, "code");
    expect(await correct({ mobile_phone_number: NEW_PHONE })).toMatchObject({
      status: 409,
      body: { code: "not-possible-now" },
    });
    expect(house.effects("update")).toBe(0);
  });

  test("of a request that failed, here alone: what is begun anew has it", async () => {
    const house = await startHouse();
    const { id, pk } = await awaitIdentification(house);
    house.simulator.identify(pk, "fail");
    await house.reaches(id, "cleanup", "failed");
    const there = await house.call("POST", `/v1/requests/${id}/correct`, { birth_date: "1990-12-31" });
    expect(there).toMatchObject({ status: 409, body: { code: "not-possible-now" } });
    const { status } = await house.call("POST", `/v1/requests/${id}/correct`, { mobile_phone_number: NEW_PHONE });
    expect(status).toBe(202);
    expect(await orderOf(house, id)).toMatchObject({ kind: "correction", outcome: "taken" });
    expect((await house.call("POST", `/v1/requests/${id}/restart`)).status).toBe(202);
    await house.waits(id, "identification");
    const created = house.simulator.ledger.filter(({ effect }) => effect === "create");
    expect(created.map(({ phone_sha256 }) => phone_sha256)).toEqual(
      [SIGNER.mobile_phone_number, NEW_PHONE].map(phoneHash),
    );
    expect(house.effects("update")).toBe(0);
  });

  test("and the documents count as the corrected signer's: they are not signed as another request", async () => {
    const house = await startHouse();
    await house.app.startInbox();
    const bytes = await samplePdf();
    const { id } = await awaitIdentification(house, {});
    const twin = await house.submit({}, [{ name: "twin.pdf", bytes }]);
    await house.waits(twin, "identification");
    await house.call("POST", `/v1/requests/${twin}/correct`, { mobile_phone_number: NEW_PHONE });
    await settles(house, twin, "taken");
    writeFileSync(join(house.dataDir, "inbox", "again.pdf"), bytes);
    const signer = { ...SIGNER, mobile_phone_number: NEW_PHONE };
    writeFileSync(join(house.dataDir, "inbox", "again.pdf.json"), JSON.stringify({ signer }));
    const status = () => {
      try {
        return readFileSync(join(house.dataDir, "status", "again.pdf.status.json"), "utf8");
      } catch {
        return "";
      }
    };
    await expect.poll(status, { timeout: 15_000 }).toContain('"duplicate"');
    expect(status()).toContain(twin);
    expect(status()).not.toContain(id);
  });
});

describe("an identification can be begun anew", () => {
  test("and the one before is cancelled first; the history has both, and the new one is brought to its end", async () => {
    const house = await startHouse();
    const { id, pk } = await awaitIdentification(house);
    house.simulator.identify(pk, "incomplete");
    const link = (await house.call("GET", `/v1/requests/${id}`)).body["videoid_link"];
    expect((await commandOn(house)("restart", id)).exitCode).toBe(0);
    await expect.poll(() => house.effects("create"), { timeout: 15_000 }).toBe(2);
    await house.waits(id, "identification");
    const { body } = await house.call("GET", `/v1/requests/${id}`);
    expect(body).toMatchObject({ former_request_pks: [pk], order: { kind: "restart", outcome: "taken" } });
    expect(body["request_pk"]).not.toBe(pk);
    expect(body["videoid_link"]).not.toBe(link);
    expect(house.simulator.statusOf(pk)).toBe("CANCELLED");
    const notes = (await house.app.store.history(id)).map(({ note }) => note);
    expect(notes).toContain(`restarted: request_pk ${pk} is cancelled`);
    expect(notes).toContain(`request_pk ${String(body["request_pk"])}`);
    expect(await actsOn(house, id)).toContain("restart by api:admin");
    expect((await commandOn(house)("show", id)).out).toContain(`(before: ${pk})`);
    await bringToAnEnd(house, id);
    expect(["create", "cancel", "approve", "sign"].map(house.effects)).toEqual([2, 1, 1, 1]);
  });

  test("while a decision is due; the decision is then about the new one", async () => {
    const house = await startHouse();
    const { id, pk } = await awaitIdentification(house);
    house.simulator.identify(pk, "complete");
    await house.waits(id, "approval");
    expect((await house.call("POST", `/v1/requests/${id}/restart`)).status).toBe(202);
    await house.waits(id, "identification");
    expect(house.simulator.statusOf(pk)).toBe("CANCELLED");
    await bringToAnEnd(house, id);
    expect(["create", "cancel", "approve", "sign"].map(house.effects)).toEqual([2, 1, 1, 1]);
  });

  test("and of a decision and a new beginning at once only one holds", async () => {
    const house = await startHouse();
    const { id, pk } = await awaitIdentification(house);
    house.simulator.identify(pk, "complete");
    await house.waits(id, "approval");
    const answers = await Promise.all(
      ["restart", "approve", "restart"].map((act) => house.call("POST", `/v1/requests/${id}/${act}`)),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 409, 409]);
    const isApproved = answers[1]?.status === 202;
    await house.waits(id, isApproved ? "code" : "identification");
    expect([house.effects("approve"), house.effects("cancel")]).toEqual(isApproved ? [1, 0] : [0, 1]);
  });

  test("after it had failed, too", async () => {
    const house = await startHouse();
    const { id, pk } = await awaitIdentification(house);
    house.simulator.identify(pk, "fail");
    await house.reaches(id, "cleanup", "failed");
    expect((await house.call("POST", `/v1/requests/${id}/restart`)).status).toBe(202);
    await house.waits(id, "identification");
    expect((await house.call("GET", `/v1/requests/${id}`)).body["former_request_pks"]).toEqual([pk]);
    expect(["create", "cancel"].map(house.effects)).toEqual([2, 1]);
  });

  /** One that failed after its approval, and is kept at the provider for a retry. */
  async function keepOne(house: House): Promise<{ id: string; pk: number }> {
    house.simulator.fault({ operation: "uploadDocument", kind: "status-before", status: 415, body: "Unsupported" });
    const { id, pk } = await awaitIdentification(house);
    house.simulator.identify(pk, "complete");
    await house.waits(id, "approval");
    await house.call("POST", `/v1/requests/${id}/approve`);
    await house.reaches(id, "cleanup", "failed");
    expect(house.simulator.statusOf(pk)).toBe("ENROLLREADY");
    return { id, pk };
  }

  test("after it had failed and is kept at the provider: what is kept is cancelled before another one is paid for", async () => {
    const house = await startHouse();
    const { id, pk } = await keepOne(house);
    const { status, body } = await house.call("POST", `/v1/requests/${id}/restart`);
    expect([status, body["order"]]).toEqual([202, expect.objectContaining({ outcome: "pending" })]);
    await house.waits(id, "identification");
    const made = house.simulator.ledger.map(({ effect }) => effect).filter((one) => ["create", "cancel"].includes(one));
    expect(made).toEqual(["create", "cancel", "create"]);
    expect(house.simulator.statusOf(pk)).toBe("CANCELLED");
    expect((await house.call("GET", `/v1/requests/${id}`)).body).toMatchObject({
      former_request_pks: [pk],
      order: { kind: "restart", outcome: "taken" },
    });
    await bringToAnEnd(house, id);
    expect(["create", "cancel", "approve", "sign"].map(house.effects)).toEqual([2, 1, 2, 1]);
  });

  test("and a kept one that the provider does not cancel stays failed as it was, with nothing new made", async () => {
    const house = await startHouse();
    const { id, pk } = await keepOne(house);
    const { failure } = await house.app.store.get(id);
    const operation = "cancelRequest";
    house.simulator.fault({ operation, kind: "status-before", status: 405, body: "Method Not Allowed" });
    expect((await house.call("POST", `/v1/requests/${id}/restart`)).status).toBe(202);
    await settles(house, id, "refused");
    await house.reaches(id, "cleanup", "failed");
    expect(await orderOf(house, id)).toMatchObject({ kind: "restart", code: "call-unknown" });
    expect((await house.app.store.get(id)).failure).toEqual(failure);
    expect([house.effects("create"), await pkOf(house, id)]).toEqual([1, pk]);
    // A retry goes on with what is kept.
    await house.call("POST", `/v1/requests/${id}/retry`);
    await house.waits(id, "code");
    expect(house.effects("create")).toBe(1);
  });

  test.each(["reset-after", "reset-before"] as const)(
    "and when the cancellation of a kept one is not answered (%s), there are never two that could be signed",
    async (kind) => {
      const house = await startHouse();
      const { id, pk } = await keepOne(house);
      house.simulator.fault({ operation: "cancelRequest", kind });
      await house.call("POST", `/v1/requests/${id}/restart`);
      await house.waits(id, "identification", 60_000);
      const effects = house.simulator.ledger.filter(({ effect }) => ["create", "cancel"].includes(effect));
      expect(effects.map(({ effect }) => effect)).toEqual(["create", "cancel", "create"]);
      expect(house.simulator.statusOf(pk)).toBe("CANCELLED");
    },
  );

  test("unless the provider does not cancel: then all stays as it is, and that is said", async () => {
    const house = await startHouse();
    house.simulator.fault({
      operation: "cancelRequest",
      kind: "status-before",
      status: 405,
      body: "Method Not Allowed",
    });
    const { id, pk } = await awaitIdentification(house);
    await house.call("POST", `/v1/requests/${id}/restart`);
    await settles(house, id, "refused");
    expect(await orderOf(house, id)).toMatchObject({ kind: "restart", code: "call-unknown" });
    expect(await pkOf(house, id)).toBe(pk);
    await bringToAnEnd(house, id);
    expect(house.effects("create")).toBe(1);
  });

  test.each(["reset-after", "reset-before", "status-after", "status-before"] as const)(
    "when the cancellation is not answered (%s), there are never two that could be signed",
    async (kind) => {
      const house = await startHouse();
      house.simulator.fault({ operation: "cancelRequest", kind, ...(kind.startsWith("status") && { status: 503 }) });
      const { id, pk } = await awaitIdentification(house);
      await house.call("POST", `/v1/requests/${id}/restart`);
      await expect.poll(() => house.effects("create"), { timeout: 30_000 }).toBe(2);
      await house.waits(id, "identification");
      const effects = house.simulator.ledger.filter(({ effect }) => ["create", "cancel"].includes(effect));
      expect(effects.map(({ effect }) => effect)).toEqual(["create", "cancel", "create"]);
      expect(effects[1]?.request_pk).toBe(pk);
      expect((await house.app.store.get(id)).intent).toBeUndefined();
    },
  );

  test("and a cancellation while it is begun anew leaves nothing at the provider", async () => {
    const house = await startHouse();
    house.simulator.fault({ operation: "cancelRequest", kind: "reset-before" });
    const { id, pk } = await awaitIdentification(house);
    await house.call("POST", `/v1/requests/${id}/restart`);
    await house.call("POST", `/v1/requests/${id}/cancel`);
    await house.reaches(id, "cleanup", "cancelled");
    expect(house.simulator.statusOf(pk)).toBe("CANCELLED");
    const live = house.simulator.ledger.filter(({ effect }) => effect === "create").map((one) => one.request_pk ?? 0);
    expect(live.map((one) => house.simulator.statusOf(one))).toEqual(live.map(() => "CANCELLED"));
  });
});

// Side by side: most of the time a lock is waited for.
test.concurrent.for([
  ["restart", "cancelRequest", "hang"],
  ["restart", "cancelRequest", "hang-after"],
  ["correct", "updateRequest", "hang"],
  ["correct", "updateRequest", "hang-after"],
] as const)(
  "a worker killed in the middle of %s (%s, %s) costs time only",
  async ([act, operation, kind], { expect, onTestFinished: atEnd }) => {
    const house = await startHouse({ work: false, atEnd });
    house.simulator.fault({ operation, kind });
    const first = startWorkProcess(house);
    const id = await house.submit();
    await house.waits(id, "identification", 60_000);
    const pk = await pkOf(house, id);
    await house.call("POST", `/v1/requests/${id}/${act}`, act === "correct" ? { mobile_phone_number: NEW_PHONE } : {});
    await expect.poll(() => house.simulator.calls.get(operation) ?? 0, { timeout: 30_000 }).toBeGreaterThan(0);
    await killHard(first);
    startWorkProcess(house);
    await expect.poll(async () => (await orderOf(house, id))?.["outcome"], { timeout: 60_000 }).toBe("taken");
    await house.waits(id, "identification", 60_000);
    expect(house.effects("cancel")).toBe(act === "restart" ? 1 : 0);
    expect(house.effects("create")).toBe(act === "restart" ? 2 : 1);
    expect((await pkOf(house, id)) === pk).toBe(act === "correct");
    const { signer } = (await house.app.vault.read(id)) ?? {};
    expect(signer?.mobile_phone_number).toBe(act === "correct" ? NEW_PHONE : SIGNER.mobile_phone_number);
  },
);
