import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { JPEG, PERSON, PNG, RAO, samplePdf, SIGNER, startHouse } from "./house.ts";
import type { House } from "./house.ts";
import type { SimulatorOptions } from "../../src/simulator/index.ts";

let house: House;
beforeAll(async () => void (house = await startHouse({ otpGuardMs: 0 })));
afterAll(() => house.simulator.close());

/** What the first generation says when all is well. */
const ok = (details: unknown) => ({ status: "200 OK", details });
const V1 = "/api/v1";

async function bytesOf(path: string): Promise<Buffer> {
  return Buffer.from(await (await fetch(house.simulator.origin + path)).arrayBuffer());
}

/** A classic request of the first generation. */
async function registered(): Promise<number> {
  const { rao: _rao, ...officer } = RAO;
  const pictures = { document_front: JPEG, document_rear: JPEG };
  const { status, body } = await house.form(`${V1}/request`, { ...SIGNER, ...PERSON, ...officer, ...pictures });
  expect([status, body]).toEqual([201, { status: "201 Created", details: expect.any(Number) }]);
  return body.details as unknown as number;
}

async function documents(pk: number, ...files: Buffer[]): Promise<string[]> {
  const uids: string[] = [];
  for (const bytes of files) {
    const { body } = await house.form(`${V1}/document/${pk}`, { file: { bytes, type: "application/pdf" } });
    expect(body).toEqual(ok(expect.stringMatching(/^[0-9a-f-]{36}$/)));
    uids.push(body.details as unknown as string);
  }
  return uids;
}

async function sign(pk: number, more: object = {}) {
  await house.call("POST", `${V1}/otp/${pk}`, { delivery_method: "whatsapp" });
  return house.call("POST", `${V1}/sign/${pk}`, { secret: house.simulator.codeOf(pk), ...more });
}

test("a VideoID request of the first generation goes from its creation to its end under its own paths", async () => {
  const created = await house.call("POST", `${V1}/videoid`, { ...SIGNER, videoid_mode: 1 });
  expect(created.body).toEqual(
    ok({ videoid_pk: expect.any(Number), videoid_link: expect.any(String), request_pk: expect.any(Number) }),
  );
  const { request_pk: pk, videoid_pk: videoidPk } = created.body.details as { request_pk: number; videoid_pk: number };
  house.simulator.identify(pk, "complete");
  expect((await house.call("POST", `${V1}/requests/${videoidPk}/approve`, RAO)).body).toEqual(
    ok("Request approved successfully"),
  );
  expect((await house.call("GET", `${V1}/request/${pk}`)).body).toMatchObject(ok({ pk, status: "ENROLLREADY" }));
  const [uid = ""] = await documents(pk, await samplePdf());
  expect((await bytesOf(`${V1}/document/${pk}/contract`)).subarray(0, 5).toString()).toBe("%PDF-");
  expect((await sign(pk)).body).toEqual(ok("Documents correctly signed"));
  expect(house.simulator.outbox.at(-1)).toMatchObject({ delivery_method: "whatsapp" });
  expect((await bytesOf(`${V1}/document/${pk}/signed/${uid}`)).toString("latin1")).toContain("/ByteRange");
  expect((await house.call("GET", `${V1}/documents/${pk}`)).body).toEqual(
    ok({
      [uid]: {
        upload_date: expect.stringMatching(/^\d\d\/\d\d\/\d{4} \d\d:\d\d:\d\d$/),
        ext: ".pdf",
        size: expect.any(Number),
        mime: "application/pdf",
        filename: "file",
      },
    }),
  );
  expect((await house.call("GET", `${V1}/requests`)).body.details).toContainEqual({ pk, status: "ISSUED" });
  expect((await house.call("DELETE", `${V1}/documents/${pk}`)).body).toEqual(ok(`Documents deleted for Request ${pk}`));
  expect((await house.call("GET", `${V1}/documents/${pk}`)).status).toBe(404);
});

test("an unknown request hides in a 400, and schema violations are missing parameters", async () => {
  const hidden = { status: "404 Not Found", details: "Request not found. Make sure the upload directory is correct." };
  expect(await house.call("GET", `${V1}/request/1`)).toMatchObject({ status: 400, body: hidden });
  expect(await house.call("GET", `${V1}/document/1/contract`)).toMatchObject({ status: 400 });
  expect(await house.call("POST", `${V1}/otp/1`)).toMatchObject({
    status: 404,
    body: { status: "404 Not Found", details: "Request 1 not found. Cannot send OTP secret" },
  });
  expect(await house.call("PUT", `${V1}/request/1`, { scratchcard: "1" })).toMatchObject({
    status: 400,
    body: { status: "400 Bad Request", details: "Missing required parameters: email" },
  });
  expect(await house.call("POST", `${V1}/videoid`)).toMatchObject({
    status: 400,
    body: { details: "Missing required parameters" },
  });
});

test("original and signed document are deleted apart, and the bytes go with the last of them", async () => {
  const pk = await registered();
  const original = await samplePdf();
  const [uid = ""] = await documents(pk, original);
  await sign(pk);
  const path = `${V1}/document/${pk}`;
  expect((await bytesOf(`${path}/original/${uid}`)).equals(original)).toBe(true);
  expect((await house.call("DELETE", `${path}/original/${uid}`)).body).toEqual(ok("Document successfully deleted"));
  expect((await house.call("GET", `${path}/original/${uid}`)).status).toBe(404);
  expect(await house.call("DELETE", `${path}/original/${uid}`)).toMatchObject({
    status: 404,
    body: { details: `Document not found with uid ${uid} and type original` },
  });
  expect((await bytesOf(`${path}/signed/${uid}`)).length).toBeGreaterThan(original.length);
  expect((await house.call("DELETE", `${path}/signed/${uid}`)).status).toBe(200);
  expect((await house.call("GET", `${V1}/documents/${pk}`)).status).toBe(404);
});

test("several documents are answered in another order, with their digests", async () => {
  const pk = await registered();
  const file = { bytes: await samplePdf(), type: "application/pdf" };
  const { body } = await house.form(`${V1}/document/${pk}`, { file, file2: file });
  expect(body).toMatchObject(ok([{ key: "file2", digest: expect.stringMatching(/^[0-9a-f]{64}$/) }, { key: "file" }]));
});

describe("a sign call of the first generation", () => {
  const format = { text_format: ["Visto por %(CN)s"], date_format: "%d/%m/%Y", timezone: "Europe/Barcelona" };

  test("has a block for each document, and a format for all", async () => {
    const pk = await registered();
    const [one = "", two = ""] = await documents(pk, await samplePdf(), await samplePdf());
    const { body } = await house.form(`${V1}/image`, { image: { bytes: png(), type: "image/png" } });
    const image = body.details as unknown as string;
    expect(image).toMatch(/^[0-9a-f-]{36}$/);
    const options = { [one]: { position: "100,100,300,160", page: "0", image } };
    expect((await sign(pk, { options, signature_format: format })).status).toBe(200);
    const [first, second] = [one, two].map((uid) => bytesOf(`${V1}/document/${pk}/signed/${uid}`));
    expect((await first)?.toString("latin1")).toMatch(/Visto por Ana L/);
    expect((await first)?.toString("latin1")).toContain("/Im1 Do");
    expect((await second)?.toString("latin1")).not.toContain("Visto por");
  });

  test("can leave the text out", async () => {
    const pk = await registered();
    const [uid = ""] = await documents(pk, await samplePdf());
    const options = { [uid]: { position: "100,100,300,160", page: 0 } };
    await sign(pk, { options, signature_format: format, use_signature_text: false });
    const text = (await bytesOf(`${V1}/document/${pk}/signed/${uid}`)).toString("latin1");
    expect(text).toContain("/Rect [100 100 300 160]");
    expect(text).not.toContain("Visto por");
  });

  test("names what is missing, document by document", async () => {
    const pk = await registered();
    const [uid = ""] = await documents(pk, await samplePdf());
    const lacks = async (options: object, status: number, details: unknown) =>
      expect(await sign(pk, { options })).toMatchObject({ status, body: { details } });
    await lacks({ [uid]: { page: 0 } }, 400, { [uid]: `Missing required parameter 'position' for file ${uid}` });
    await lacks({ [uid]: { position: "1,1,9,9" } }, 400, {
      [uid]: `Missing required parameter 'page' for file ${uid}`,
    });
    const place = { position: "1,1,9,9", page: 0 };
    await lacks({ [uid]: { ...place, image: "no" } }, 404, { [uid]: "The image no cannot be found on disk" });
    await lacks({ other: place }, 404, "The following documents are not found in Request's folders: other");
    expect(house.simulator.statusOf(pk)).toBe("ENROLLREADY");
  });

  test("can have a second signer, who must be known, for the documents that ask for one", async () => {
    const pk = await registered();
    const [one = "", two = ""] = await documents(pk, await samplePdf(), await samplePdf());
    const options = { [one]: { usecountersignature: true }, [two]: {} };
    expect(await sign(pk, { options, countersignature: { username: "x" } })).toMatchObject({
      status: 403,
      body: { details: "Invalid countersignature credentials" },
    });
    const countersignature = { username: "x", password: "y", pin: "z", position: "10,10,90,60", page: "0" };
    expect((await sign(pk, { options, countersignature })).status).toBe(200);
    const signatures = async (uid: string) =>
      (await bytesOf(`${V1}/document/${pk}/signed/${uid}`)).toString("latin1").match(/\/ByteRange \[/g)?.length;
    expect([await signatures(one), await signatures(two)]).toEqual([2, 1]);
  });

  test("can carry metadata that was stored before", async () => {
    const stored = { metadata: Buffer.from("case 77").toString("base64"), metadata_oid: "1.3.6.1.4.1.99999.1" };
    const { body } = await house.call("POST", `${V1}/metadata`, stored);
    expect(body).toEqual(ok(expect.stringMatching(/^[0-9a-f]{32}$/)));
    const metadata = body.details as unknown as string;
    const pk = await registered();
    const [uid = ""] = await documents(pk, await samplePdf());
    expect((await sign(pk, { metadata: "unknown" })).status).toBe(404);
    expect((await sign(pk, { metadata })).status).toBe(200);
    const hex = Buffer.from("case 77").toString("hex");
    expect((await bytesOf(`${V1}/document/${pk}/signed/${uid}`)).toString("latin1")).toContain(hex);
    expect((await house.call("GET", `${V1}/metadata/${metadata}`)).body).toEqual(ok(stored));
    expect((await house.call("GET", `${V1}/metadata`)).body).toMatchObject({
      details: { [metadata]: expect.any(String) },
    });
    expect((await house.call("DELETE", `${V1}/metadata/${metadata}`)).status).toBe(200);
    expect((await house.call("DELETE", `${V1}/metadata`)).status).toBe(200);
    expect((await house.call("GET", `${V1}/metadata/${metadata}`)).status).toBe(404);
  });

  test("can be asynchronous by itself, and its progress asked for", async () => {
    const pk = await registered();
    await documents(pk, await samplePdf());
    expect((await house.call("GET", `${V1}/async/status/${pk}`)).body).toEqual(ok("approved"));
    await house.call("POST", `${V1}/otp/${pk}`);
    const later = await house.call("POST", `${V1}/async/sign/${pk}`, { secret: house.simulator.codeOf(pk) });
    expect(later.body.details).toContain("going to be signed");
    house.simulator.advanceClock(2000);
    await expect.poll(() => house.simulator.statusOf(pk)).toBe("ISSUED");
    expect((await house.call("GET", `${V1}/async/status/1`)).status).toBe(400);
  });
});

/** One grey pixel. */
function png(): Buffer {
  return Buffer.from(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000 3a7e9b550000000a49444154789c63680000008200815a2e6b3d0000000049454e44ae426082".replaceAll(
      " ",
      "",
    ),
    "hex",
  );
}

test("tokens are 32 hexadecimal digits, and settings are always there", async () => {
  const { rao: _rao, ...officer } = RAO;
  const { body } = await house.call("POST", `${V1}/token`, { ...officer, env: "sandbox" });
  expect(body).toEqual(ok(expect.stringMatching(/^[0-9a-f]{32}$/)));
  expect((await house.call("GET", `${V1}/token/${body.details as unknown as string}`)).body).toEqual(
    ok({ username: RAO.username, password: true, pin: true }),
  );
  expect((await house.call("GET", `${V1}/settings`)).body).toMatchObject({
    details: { general: { rootstore: "uanataca" } },
  });
  expect((await house.call("POST", `${V1}/settings`, { tsa: { tsa_url: 7 } })).status).toBe(400);
  expect((await house.call("GET", `${V1}/hello`)).body).toEqual(ok("Hello"));
  expect((await house.call("GET", `${V1}/version`)).body).toMatchObject({ details: { name: "OneShot Optimizer" } });
});

test("some clients of the first generation sent the other number of a VideoID request", async () => {
  const { request_pk: pk, videoid_pk: videoidPk } = await house.create();
  const statuses = async () => {
    const paths = [pk, videoidPk].map((number) => `${V1}/videoid/${number}/evidences/video`);
    const answers = await Promise.all(paths.map((path) => house.form(path, { film: PNG })));
    return answers.map(({ status }) => status);
  };
  // 400 is a missing part, and 404 a number that is not known.
  expect(await statuses()).toEqual([400, 400]);
  house.simulator.set({ firstIds: "request_pk" });
  expect(await statuses()).toEqual([400, 404]);
  house.simulator.set({ firstIds: "videoid_pk" });
  expect(await statuses()).toEqual([404, 400]);
  house.simulator.set({ firstIds: "either" });
});

test("a notification address that comes with the creation counts in the first generation alone", async () => {
  const withUrl = { ...SIGNER, webhook_url: "http://127.0.0.1:1/" };
  const failures = async () => ((await house.call("GET", "/control/webhooks")).body as { failed?: number }).failed ?? 0;
  await house.call("POST", "/videoid", withUrl);
  await house.call("POST", `${V1}/videoid`, withUrl);
  await expect.poll(failures).toBe(1);
});

describe("the newest paths", () => {
  const switched = (change: SimulatorOptions) => house.simulator.set(change);
  afterEach(() =>
    switched({ envelope: "newest", doubledPrefix: false, trailingSlash: "accepted", errorStyle: "status" }),
  );

  test("can speak in the first generation's envelopes", async () => {
    switched({ envelope: "first" });
    const { request_pk: pk } = (await house.call("POST", "/videoid", SIGNER)).body.details as { request_pk: number };
    expect((await house.call("GET", `/request/${pk}`)).body).toMatchObject(ok({ pk, status: "VIDEOPENDING" }));
    expect((await house.call("DELETE", `/request/${pk}`)).body).toEqual(ok("Request directory removed successfully"));
  });

  test("can let the registration authority's errors through", async () => {
    switched({ errorStyle: "upstream" });
    const { videoid_pk: videoidPk } = await house.create();
    expect((await house.call("POST", `/videoid/${videoidPk}/approve`, RAO)).body).toEqual({
      code: "412",
      id: expect.any(String),
      error: "Invalid request status",
    });
  });

  test("can have their prefix twice, and a slash at the end or not", async () => {
    const twice = "/oneshot/api/v1/api/v1/tokens";
    expect((await house.call("GET", twice)).status).toBe(404);
    switched({ doubledPrefix: true });
    expect((await house.call("GET", twice)).status).toBe(200);
    expect((await house.call("GET", "/tokens/")).status).toBe(200);
    switched({ trailingSlash: "refused" });
    expect((await house.call("GET", "/tokens/")).status).toBe(404);
    expect((await house.call("GET", "/tokens")).status).toBe(200);
  });

  test("can want a secret beside an external authentication", async () => {
    const pk = await house.classicPk();
    await house.upload(pk, { file: await samplePdf() });
    const pair = { ext_unlock_type: "biometric", ext_unlock_value: "12345678-12345678" };
    house.simulator.set({ secretBesideUnlock: true });
    expect(await house.call("POST", `/sign/${pk}`, pair)).toMatchObject({
      status: 400,
      body: { message: "Missing required parameter: 'secret'" },
    });
    expect((await house.call("POST", `/sign/${pk}`, { ...pair, secret: "anything" })).status).toBe(200);
    house.simulator.set({ secretBesideUnlock: false });
  });

  test("answer an upload in a shape with error codes, too", async () => {
    const pk = await house.classicPk();
    house.simulator.set({ uploadShape: "coded" });
    expect((await house.upload(pk, { file: await samplePdf() })).body).toEqual({
      status: "success",
      detail: [{ name: "file", uid: expect.any(String), errorCode: null, errorMessage: null }],
    });
    house.simulator.set({ uploadShape: "new" });
  });

  test("lose an image that was answered, when they are told to", async () => {
    house.simulator.set({ loseImages: true });
    const { body } = await house.form("/image", { image: { bytes: png(), type: "image/png" } });
    const { image_uid: image } = body.details as { image_uid: string };
    expect((await house.call("GET", `/image/${image}`)).status).toBe(404);
    const { pk, uids, secret } = await house.armed(await samplePdf());
    const appearance = { position: "1, 1, 90, 90", page: 0, image };
    expect(await house.call("POST", `/sign/${pk}`, { secret, signature: { appearance } })).toMatchObject({
      status: 404,
      body: { details: { [uids[0] ?? ""]: `The image ${image} cannot be found on disk` } },
    });
    house.simulator.set({ loseImages: false });
  });
});

test("all images go with one call, and each of them is an effect", async () => {
  const before = house.effects().filter((effect) => effect === "delete-image").length;
  for (let i = 0; i < 2; i++) await house.form("/image", { image: { bytes: png(), type: "image/png" } });
  const there = Object.keys((await house.call("GET", "/images")).body.details ?? {}).length;
  expect((await house.call("DELETE", "/images")).body).toMatchObject({ message: "Images deleted successfully" });
  expect((await house.call("GET", "/images")).body).toMatchObject({ details: {} });
  expect(house.effects().filter((effect) => effect === "delete-image")).toHaveLength(before + there);
});
