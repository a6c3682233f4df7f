import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { memberIds } from "../../src/core/group.ts";
import { forget } from "../helpers/lose.ts";
import { pdfsig } from "../helpers/pdfsig.ts";
import { type House, readJson, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";

interface Answer {
  status: number;
  replayed: boolean;
  text: string;
  body: {
    id: string;
    code?: string;
    group?: { id: string; requests: string[] };
    links: { signed_documents: string[] };
  };
}

async function pdfs(count: number) {
  const names = Array.from({ length: count }, (_, i) => `deed ${i + 1}.pdf`);
  return await Promise.all(names.map(async (name) => ({ name, bytes: await samplePdf() })));
}

async function handIn(
  { api, keyRing }: House,
  documents: { name: string; bytes: Uint8Array }[],
  { key, manifest = {} }: { key?: string; manifest?: object } = {},
): Promise<Answer> {
  const form = new FormData();
  form.set("manifest", JSON.stringify({ signer: SIGNER, ...manifest }));
  for (const { name, bytes } of documents) form.append("file", new Blob([new Uint8Array(bytes)]), name);
  const answer = await fetch(`${api}/v1/requests`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${keyRing.apiKeys[0]?.secret ?? ""}`,
      ...(key !== undefined && { "idempotency-key": key }),
    },
    body: form,
  });
  const text = await answer.text();
  const replayed = answer.headers.get("idempotency-replayed") === "true";
  return { status: answer.status, replayed, text, body: JSON.parse(text) as Answer["body"] };
}

const FILE = /^\d+\.pdf$/;
const filesOf = ({ dataDir }: House, id: string) =>
  existsSync(join(dataDir, ".work", id))
    ? readdirSync(join(dataDir, ".work", id)).filter((name) => FILE.test(name))
    : [];

test("23 documents for one signer come back signed, from three requests that tell of each other", async () => {
  const house = await startHouse();
  const documents = await pdfs(23);
  const { status, body } = await handIn(house, documents, { manifest: { reference: "estate-5" } });
  expect(status).toBe(202);
  const { id, group } = body;
  expect(group).toEqual({ id, requests: memberIds({ id, of: 3 }) });
  expect(body.links.signed_documents).toHaveLength(8);
  const ids = group?.requests ?? [];

  for (const one of ids) {
    await house.waits(one, "identification");
    house.simulator.identify((await house.app.store.get(one)).facts["requestPk"] as number, "complete");
    await house.waits(one, "approval");
    expect((await house.call("POST", `/v1/requests/${one}/approve`)).status).toBe(202);
    await house.waits(one, "code");
    const secret = await house.codeFor(one);
    expect((await house.call("POST", `/v1/requests/${one}/code`, { secret })).status).toBe(202);
    await house.reaches(one, "cleanup", "done");
  }

  const signed = ids.map((one) => readdirSync(join(house.dataDir, "signed", one)));
  const names = signed.flat().filter((name) => name.endsWith(".signed.pdf"));
  expect(new Set(names)).toEqual(new Set(documents.map(({ name }) => `${name}.signed.pdf`)));
  expect(names).toHaveLength(23);
  for (const [i, one] of ids.entries()) {
    const folder = join(house.dataDir, "signed", one);
    expect(readJson(join(folder, "evidence.json"))).toMatchObject({ id: one, group: { id, n: i + 1, of: 3 } });
    for (const name of (signed[i] ?? []).filter((file) => file.endsWith(".signed.pdf"))) {
      expect(pdfsig(join(folder, name)) ?? "Signature is Valid").toContain("Signature is Valid");
    }
    const { body: view } = await house.call("GET", `/v1/requests/${one}`);
    expect(view).toMatchObject({ state: "done", group: { id, n: i + 1, of: 3 }, reference: "estate-5" });
    expect((view["documents"] as object[]).length).toBe([8, 8, 7][i]);
  }
  const listed = await house.call("GET", `/v1/requests?group=${id}`);
  expect((listed.body["items"] as { id: string }[]).map((one) => one.id).sort()).toEqual([...ids].sort());
  // Each is a request of its own at the provider, with no more documents than that takes.
  expect(["create", "approve", "sign"].map(house.effects)).toEqual([3, 3, 3]);
  expect(house.effects("upload")).toBe(23);
}, 120_000);

test("what shows who the signer is comes with each request of a group, and goes with each", async () => {
  const house = await startHouse({ work: false });
  const front = Buffer.from(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "base64",
  );
  const manifest = {
    workflow: "classic",
    signer: {
      ...SIGNER,
      surname_1: "Canario",
      serial_number: "A9999999E",
      id_document_type: "IDC",
      id_document_country: "ES",
    },
    identity: { document_front: "front.png", document_rear: "rear.png" },
  };
  const id = await house.submit(manifest, await pdfs(11), [
    { name: "front.png", bytes: front },
    { name: "rear.png", bytes: front },
  ]);
  for (const one of memberIds({ id, of: 2 })) {
    const seen = await house.download(`/v1/requests/${one}/enclosures/document_front`);
    expect([seen.status, seen.bytes.equals(front)]).toEqual([200, true]);
  }
  await house.app.documents.remove(id);
  const left = await house.download(`/v1/requests/${memberIds({ id, of: 2 })[1]}/enclosures/document_rear`);
  expect([left.status, left.bytes.equals(front)]).toEqual([200, true]);
});

test("a group that broke off between its records is finished by the repetition, which makes nothing twice", async () => {
  let made = 0;
  const crashPoint = (name: string) => {
    if (name === "group:next" && ++made === 2) throw new Error("the process is gone");
  };
  const house = await startHouse({ work: false, doubles: { crashPoint } });
  const documents = await pdfs(23);
  const first = await handIn(house, documents, { key: "estate-6" });
  expect(first.status).toBe(202);
  const ids = first.body.group?.requests ?? [];
  const there = async () => (await house.app.store.readMany(ids)).map(({ id }) => id);
  expect(await there()).toEqual(ids.slice(0, 2));

  const again = await handIn(house, documents, { key: "estate-6" });
  expect([again.status, again.replayed, again.text]).toEqual([202, true, first.text]);
  expect(await there()).toEqual(ids);
  const oncemore = await handIn(house, documents, { key: "estate-6" });
  expect([oncemore.replayed, oncemore.text]).toEqual([true, first.text]);
  const all = await house.call("GET", "/v1/requests");
  expect((all.body["items"] as object[]).length).toBe(3);
  expect(ids.map((id) => filesOf(house, id).length)).toEqual([23, 8, 7]);

  house.app.startWorkers();
  for (const id of ids) await house.waits(id, "identification");
  // Once all are there, each folder has its own documents alone.
  expect(ids.map((id) => filesOf(house, id).length)).toEqual([8, 8, 7]);
  expect(house.effects("create")).toBe(3);
  const other = await handIn(house, documents.slice(0, 22), { key: "estate-6" });
  expect([other.status, other.body.code]).toEqual([422, "idempotency-mismatch"]);
});

test("a group whose records Redis has lost comes back from the journal, and what was missing of it is made", async () => {
  let made = 0;
  const crashPoint = (name: string) => {
    if (name === "group:next" && ++made === 2) throw new Error("the process is gone");
  };
  const house = await startHouse({ work: false, doubles: { crashPoint } });
  const ids = (await handIn(house, await pdfs(23))).body.group?.requests ?? [];
  for (const id of ids.slice(0, 2)) await forget(house, id, 0);
  expect(await house.app.store.readMany(ids)).toEqual([]);
  expect(await house.app.recovery.mend(house.app.readJournalLines, 0)).toBe(2);
  house.app.startWorkers();
  for (const id of ids) await house.waits(id, "identification");
  const numbers = (await house.app.store.readMany(ids)).map(({ facts }) => (facts["group"] as { n: number }).n);
  expect(numbers).toEqual([1, 2, 3]);
  expect(house.effects("create")).toBe(3);
});

test("ten documents are one request, and more than MAX_DOCUMENTS are refused with nothing left behind", async () => {
  const house = await startHouse({ work: false, settings: { MAX_DOCUMENTS: "12" } });
  const ten = await handIn(house, await pdfs(10));
  expect([ten.status, ten.body.group]).toEqual([202, undefined]);
  expect((await house.call("GET", `/v1/requests/${ten.body.id}`)).body["group"]).toBeUndefined();
  const twelve = await handIn(house, await pdfs(12));
  expect(twelve.body.group?.requests).toHaveLength(2);
  const before = readdirSync(join(house.dataDir, ".work")).sort();
  const thirteen = await handIn(house, await pdfs(13));
  expect([thirteen.status, thirteen.body.code]).toEqual([400, "too-many-documents"]);
  expect(thirteen.text).toContain("up to 12 documents");
  expect(readdirSync(join(house.dataDir, ".work")).sort()).toEqual(before);
  const bad = await house.call("GET", "/v1/requests?group=everybody");
  expect([bad.status, bad.body["code"]]).toEqual([400, "invalid-request"]);
});
