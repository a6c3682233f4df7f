import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { auditLines } from "../../src/core/audit.ts";
import { inOrder, type JournalLine } from "../../src/core/journal.ts";
import { type House, readJson, SIGNER, startHouse } from "../helpers/house.ts";

async function readLines(house: House, id: string): Promise<{ lines: JournalLine[] }> {
  const lines: JournalLine[] = [];
  await house.app.readJournalLines((line) => line.request === id && lines.push(line));
  return { lines: lines.sort(inOrder) };
}

describe("a request that ends otherwise than done", () => {
  test("because a RAO refused it is refused at the provider, with the reason, and says by whom", async () => {
    const house = await startHouse();
    const id = await house.submit();
    await house.waits(id, "identification");
    const pk = (await house.app.store.get(id)).facts["requestPk"] as number;
    house.simulator.identify(pk, "complete");
    await house.waits(id, "approval");
    expect((await house.call("POST", `/v1/requests/${id}/refuse`, {})).status).toBe(400);
    expect(
      (await house.call("POST", `/v1/requests/${id}/refuse`, { reason: "The canary photo is blurred" })).status,
    ).toBe(202);
    await house.reaches(id, "cleanup", "refused");
    const { body } = await house.call("GET", `/v1/requests/${id}`);
    expect(body).toMatchObject({ state: "refused", failure: { code: "refused" } });
    expect(house.simulator.statusOf(pk)).toBe("CANCELLED");
    expect(house.effects("refuse")).toBe(1);
    expect(house.logged()).not.toContain("blurred");
    const late = await house.call("POST", `/v1/requests/${id}/approve`);
    expect(late.status).toBe(409);
  });

  test("because two RAOs decide at once follows the first one and tells the second who was first", async () => {
    const house = await startHouse();
    const id = await house.submit();
    await house.waits(id, "identification");
    house.simulator.identify((await house.app.store.get(id)).facts["requestPk"] as number, "complete");
    await house.waits(id, "approval");
    const answers = await Promise.all([
      house.call("POST", `/v1/requests/${id}/approve`),
      house.call("POST", `/v1/requests/${id}/refuse`, { reason: "no" }),
      house.call("POST", `/v1/requests/${id}/approve`),
    ]);
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 409, 409]);
    await expect.poll(() => house.effects("approve") + house.effects("refuse"), { timeout: 10_000 }).toBe(1);
  });

  test("because the identification failed is cancelled at the provider, and a retry starts a new one", async () => {
    const house = await startHouse({ settings: { APPROVAL: "auto" } });
    const id = await house.submit();
    await house.waits(id, "identification");
    const first = (await house.app.store.get(id)).facts["requestPk"] as number;
    house.simulator.identify(first, "fail");
    await house.reaches(id, "cleanup", "failed");
    expect((await house.app.store.get(id)).failure?.code).toBe("videoid-error");
    expect(house.simulator.statusOf(first)).toBe("CANCELLED");
    expect((await house.call("POST", `/v1/requests/${id}/retry`)).status).toBe(202);
    await house.waits(id, "identification");
    const second = (await house.app.store.get(id)).facts["requestPk"] as number;
    expect(second).not.toBe(first);
    house.simulator.identify(second, "complete");
    await house.waits(id, "code");
    await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
    await house.reaches(id, "cleanup", "done");
  });

  test("because it was cancelled after the upload leaves no document at the provider", async () => {
    const house = await startHouse({
      settings: { APPROVAL: "auto" },
      simulator: { humans: { signer: "auto", signerDelayMs: 0 } },
    });
    const id = await house.submit();
    await house.waits(id, "code");
    expect((await house.call("POST", `/v1/requests/${id}/cancel`)).status).toBe(202);
    await house.reaches(id, "cleanup", "cancelled");
    const { requestPk, uploaded } = (await house.app.store.get(id)).facts as {
      requestPk: number;
      uploaded: { uid: string }[];
    };
    expect(house.simulator.statusOf(requestPk)).toBe("CANCELLED");
    for (const { uid } of uploaded) {
      const original = `${house.simulator.url}/document/${requestPk}/${uid}?document_type=original`;
      expect((await fetch(original)).status).toBe(404);
    }
    expect(uploaded).toHaveLength(1);
    expect(house.effects("sign")).toBe(0);
  });

  test("because it was cancelled, and turns out to be signed at the provider, is done, and says both", async () => {
    const house = await startHouse({
      settings: { APPROVAL: "auto" },
      simulator: { humans: { signer: "auto", signerDelayMs: 0 } },
    });
    const id = await house.submit();
    await house.waits(id, "code");
    const pk = (await house.app.store.get(id)).facts["requestPk"] as number;
    // As a call of a process that stood still, and that nobody waits for any more.
    const answer = await fetch(`${house.simulator.url}/sign/${pk}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ secret: await house.codeFor(id) }),
    });
    expect(answer.status).toBe(200);
    expect((await house.call("POST", `/v1/requests/${id}/cancel`)).status).toBe(202);
    await house.reaches(id, "cleanup", "done");

    const { body } = await house.call("GET", `/v1/requests/${id}`);
    expect(body).toMatchObject({
      state: "done",
      notice: { code: "cancelled-but-signed", message: expect.stringContaining("Cancelled by api:") as string },
      documents: [{ signed_sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string }],
    });
    expect(body).not.toHaveProperty("failure");
    const evidence = readJson(join(house.dataDir, "signed", id, "evidence.json"));
    expect(evidence).toMatchObject({ signer: { email: SIGNER.email }, signed_at: expect.any(String) as string });
    expect(JSON.stringify(evidence["history"])).toContain("cancelled-but-signed");
    expect(await house.app.vault.read(id)).toBeUndefined();
    expect([house.effects("cancel"), house.effects("sign"), house.effects("delete-document")]).toEqual([0, 1, 1]);
    expect(house.logged()).toContain("cancelled-but-signed");
    // Its signing was not ours to announce any more, and the rest of its journal is as it should be.
    const { lines } = await readLines(house, id);
    expect(auditLines(lines)).toEqual([]);
  });

  test("because nobody identified in time is expired, and can be taken up again", async () => {
    const house = await startHouse({ settings: { IDENTIFY_WITHIN_MS: "400" } });
    const id = await house.submit();
    await house.reaches(id, "cleanup", "expired");
    expect((await house.app.store.get(id)).failure?.code).toBe("identification-expired");
    await house.call("POST", `/v1/requests/${id}/retry`);
    await house.reaches(id, "identify", "waiting");
    expect(house.effects("create")).toBe(2);
    await house.reaches(id, "cleanup", "expired");
  });

  test("because the provider rejects it fails with the provider's reason, without the signer's data", async () => {
    const house = await startHouse();
    house.simulator.fault({ operation: "createVideoId", kind: "validation" });
    const id = await house.submit();
    await house.reaches(id, "cleanup", "failed");
    const { failure } = await house.app.store.get(id);
    expect(failure).toMatchObject({ code: "invalid-input", stage: "create" });
    expect(failure?.message).not.toContain("canary");
    await house.call("POST", `/v1/requests/${id}/retry`);
    await house.waits(id, "identification");
  });
});

test("a callback to an address that may not be called is refused at the door; plain http is for allowed hosts", async () => {
  const house = await startHouse({ work: false, settings: { CALLBACK_HOSTS: "hooks.internal, 127.0.0.1:9000" } });
  for (const url of ["http://hooks.example/a", "https://10.0.0.1/a", "http://127.0.0.1:9001/a"]) {
    await expect(house.submit({ callback_url: url }), url).rejects.toThrow(/callback-not-allowed/);
  }
  for (const url of ["https://hooks.example/a", "http://hooks.internal:8080/a", "http://127.0.0.1:9000/a"]) {
    await house.submit({ callback_url: url });
  }
});

test("a request for automatic approval is refused where a RAO has to decide", async () => {
  const house = await startHouse();
  await expect(house.submit({ approval: "auto" })).rejects.toThrow(/auto-approval-not-allowed/);
});
