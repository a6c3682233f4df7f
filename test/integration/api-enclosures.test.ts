import { readFileSync, statSync, truncateSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { expect, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import type { Enclosure } from "../../src/core/identity.ts";
import type { ApiDocument } from "../../src/producers/api/openapi.ts";
import {
  AUTHORIZED,
  filePart,
  manifestPart,
  type Part,
  record,
  startApiHouse,
  submit,
  told,
  type ApiHouse,
} from "../helpers/api-house.ts";
import { classic, external, jpeg, mp4, OCR_DATA, png } from "../helpers/identity.ts";

const FILES = { document_front: "DNI Ana front.jpg", document_rear: "DNI Ana rear.png" };
const FRONT = jpeg();
const REAR = png();
const FILM = mp4(300_000);

const enclosure = (filename: string, content: Buffer | string): Part => ({
  name: "enclosure",
  content,
  filename,
  type: "application/octet-stream",
});
const front = (content: Buffer | string = FRONT) => enclosure(FILES.document_front, content);
const rear = (content: Buffer | string = REAR) => enclosure(FILES.document_rear, content);
const whole = () => [manifestPart(classic(FILES)), filePart(), front(), rear()];

const get = (house: ApiHouse, url: string, method: "GET" | "HEAD" = "GET") =>
  house.app.inject({ method, url, headers: AUTHORIZED });

test("files that the manifest names come in with the documents, in any order, known by what they show and by nothing else", async () => {
  const [manifest, pdf, one, other] = whole() as [Part, Part, Part, Part];
  for (const parts of [
    [manifest, pdf, one, other],
    [other, one, pdf, manifest],
    [one, manifest, other, pdf],
  ]) {
    const house = await startApiHouse();
    const answer = await submit(house.app, parts);
    expect(answer.statusCode, answer.body).toBe(202);
    const [{ id, enclosures = [], documents, workflow, ...rest } = {} as never] = house.submissions;
    expect(workflow).toBe("classic");
    expect(documents).toHaveLength(1);
    expect(enclosures.map(({ name, contentType, sizeBytes }) => [name, contentType, sizeBytes])).toEqual([
      ["document_front", "image/jpeg", FRONT.length],
      ["document_rear", "image/png", REAR.length],
    ]);
    expect(rest).not.toHaveProperty("identity");
    expect(JSON.stringify({ enclosures, rest })).not.toContain("DNI");
    for (const { id: reference } of enclosures) {
      const path = join(house.dir, ".work", reference);
      expect(reference).toMatch(new RegExp(`^${id}/enclosure-\\d$`));
      expect(statSync(path).mode & 0o777).toBe(0o600);
    }
    const bytes = readFileSync(join(house.dir, ".work", enclosures[0]?.id ?? ""));
    expect(bytes.equals(FRONT)).toBe(true);
    expect(house.logged()).not.toContain("DNI");
  }
});

test("what was found of the signer goes along, and a film streams", async () => {
  const house = await startApiHouse();
  const manifest = external({ ...FILES, video: "Ana.mp4" });
  const parts = [enclosure("Ana.mp4", FILM), manifestPart(manifest), rear(), filePart(), front()];
  const answer = await submit(house.app, parts);
  expect(answer.statusCode, answer.body).toBe(202);
  expect(house.submissions[0]).toMatchObject({
    identification: { ocr_data: OCR_DATA, similarity_level: "high" },
    enclosures: [{ name: "document_front" }, { name: "document_rear" }, { name: "video", contentType: "video/mp4" }],
  });
});

test.each([
  [
    "a file that is named and was not sent",
    [manifestPart(classic(FILES)), filePart(), front()],
    "enclosure-missing",
    422,
    /manifest\.identity\.document_rear names "DNI Ana rear\.png", and no part "enclosure" with this file name was sent/,
  ],
  [
    "a file that was sent and is not named",
    [...whole(), enclosure("selfie.jpg", jpeg())],
    "enclosure-not-named",
    422,
    /file name "selfie\.jpg" is not one that the manifest names/,
  ],
  [
    "a file that is sent twice",
    [...whole(), front()],
    "enclosure-not-named",
    422,
    /"DNI Ana front\.jpg" .*or is sent twice/,
  ],
  [
    "more files than anybody could name",
    [...whole(), ...Array.from({ length: 5 }, (_, n) => enclosure(`${n}.jpg`, jpeg()))],
    "enclosure-not-named",
    422,
    /./,
  ],
  [
    "a file that is no picture",
    [manifestPart(classic(FILES)), filePart(), front("GIF89a"), rear()],
    "unusable-enclosure",
    422,
    /manifest\.identity\.document_front \("DNI Ana front\.jpg"\) cannot be used: The file is not a JPEG or PNG picture/,
  ],
  [
    "a file that is empty",
    [manifestPart(classic(FILES)), filePart(), front(), rear("")],
    "unusable-enclosure",
    422,
    /\("DNI Ana rear\.png"\) cannot be used: The file is empty/,
  ],
  [
    "a file of a signer who identifies on video",
    [manifestPart(), filePart(), front()],
    "enclosure-not-named",
    422,
    /./,
  ],
] as [string, Part[], string, number, RegExp][])(
  "%s is refused with a sentence that names field and file, and nothing stays",
  async (_what, parts, code, status, sentence) => {
    const house = await startApiHouse();
    const answer = await submit(house.app, parts);
    expect(answer.json()).toMatchObject({ status, code });
    expect(told(answer).detail).toMatch(sentence);
    expect(await house.stored()).toEqual([]);
    expect(house.submissions).toEqual([]);
  },
);

test("a file above the limit is refused by its name", async () => {
  const house = await startApiHouse({ limits: { documentBytes: 2_000 } });
  const answer = await submit(house.app, [
    manifestPart(classic(FILES)),
    filePart(),
    front(),
    rear(Buffer.alloc(3_000)),
  ]);
  expect(answer.json()).toMatchObject({ status: 413, code: "too-large" });
  expect(told(answer).detail).toContain("DNI Ana rear.png");
  expect(await house.stored()).toEqual([]);
});

test("the files count for all of a request together", async () => {
  const house = await startApiHouse({ limits: { totalBytes: 900 } });
  const answer = await submit(house.app, [...whole().slice(0, 3), rear(Buffer.concat([REAR, Buffer.alloc(800)]))]);
  expect(answer.json()).toMatchObject({ status: 413, code: "too-large" });
});

test("the same Idempotency-Key with the same files in another order is the same call, with another picture it is not", async () => {
  const house = await startApiHouse();
  const key = { "idempotency-key": "one" };
  const first = await submit(house.app, whole(), key);
  const again = await submit(house.app, whole().reverse(), key);
  expect(again.headers["idempotency-replayed"]).toBe("true");
  expect(told(again).id).toBe(told(first).id);
  const other = await submit(house.app, [...whole().slice(0, 3), rear(png())], key);
  expect(other.json()).toMatchObject({ status: 422, code: "idempotency-mismatch" });
  expect(await house.stored()).toEqual([told(first).id]);
});

/** A request that was handed in with its files, and its record as the pipeline would have it. */
async function handedIn(house: ApiHouse) {
  const { id } = told(await submit(house.app, whole()));
  const { enclosures = [] } = house.submissions[0] ?? {};
  house.records.set(id, record({ id, workflow: "classic", facts: { documents: [], enclosures } }));
  return { id, enclosures };
}

test("an officer looks at what was handed in, as the kind of file it is and under a name that says nothing", async () => {
  const house = await startApiHouse();
  const { id } = await handedIn(house);
  const answer = await get(house, `/v1/requests/${id}/enclosures/document_front`);
  expect(answer.statusCode).toBe(200);
  expect(answer.rawPayload.equals(FRONT)).toBe(true);
  expect(answer.headers).toMatchObject({
    "content-type": "image/jpeg",
    "content-length": `${FRONT.length}`,
    "content-disposition": `attachment; filename="document_front.jpg"; filename*=UTF-8''document_front.jpg`,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  expect(told<{ enclosures: Enclosure[] }>(await get(house, `/v1/requests/${id}`)).enclosures).toEqual([
    { name: "document_front", content_type: "image/jpeg", size_bytes: FRONT.length },
    { name: "document_rear", content_type: "image/png", size_bytes: REAR.length },
  ]);
  const head = await get(house, `/v1/requests/${id}/enclosures/document_rear`, "HEAD");
  expect([head.headers["content-length"], head.rawPayload.length]).toEqual([`${REAR.length}`, 0]);
});

test("what was not handed in, is erased, or is not what was stored, cannot be looked at", async () => {
  const house = await startApiHouse();
  const { id, enclosures } = await handedIn(house);
  for (const name of ["video", "claim.json", "..%2f1.pdf", "1.pdf"]) {
    expect((await get(house, `/v1/requests/${id}/enclosures/${name}`)).json()).toMatchObject({
      status: 404,
      code: "no-such-enclosure",
    });
  }
  truncateSync(join(house.dir, ".work", enclosures[0]?.id ?? ""), 3);
  const damaged = await get(house, `/v1/requests/${id}/enclosures/document_front`);
  expect(damaged.json()).toMatchObject({ status: 500, code: "result-damaged" });
  await rm(join(house.dir, ".work", id), { recursive: true });
  const gone = await get(house, `/v1/requests/${id}/enclosures/document_front`);
  expect(gone.json()).toMatchObject({ status: 404, code: "no-such-enclosure" });
});

test("without a key nobody looks at anything", async () => {
  const house = await startApiHouse();
  const { id } = await handedIn(house);
  for (const path of ["enclosures/document_front", "video"]) {
    const answer = await house.app.inject({ url: `/v1/requests/${id}/${path}` });
    expect(answer.statusCode).toBe(401);
  }
});

/** A house whose provider gives this film of videoid_pk 17. */
async function withFilm(video: (signal: AbortSignal) => Promise<{ body: Readable; declaredBytes?: number }>) {
  const asked: number[] = [];
  const house = await startApiHouse({
    shown: {
      enclosure: () => Promise.reject(new Error("not asked for")),
      video(videoidPk, signal) {
        asked.push(videoidPk);
        return video(signal);
      },
    },
  });
  const one = record({ facts: { videoidPk: 17 } });
  house.records.set(one.id, one);
  return { house, asked, path: `/v1/requests/${one.id}/video` };
}

test("an officer looks at the film that the provider has, passed on as it comes", async () => {
  const { house, asked, path } = await withFilm(async () => ({
    body: Readable.from([FILM.subarray(0, 10), FILM.subarray(10)]),
    declaredBytes: FILM.length,
  }));
  const answer = await get(house, path);
  expect(asked).toEqual([17]);
  expect(answer.rawPayload.equals(FILM)).toBe(true);
  expect(answer.headers).toMatchObject({ "content-type": "video/mp4", "content-length": `${FILM.length}` });
  expect(answer.headers["content-disposition"]).toContain('filename="video.mp4"');
});

test("a request that has no identification at the provider has no film", async () => {
  const house = await startApiHouse();
  const one = record();
  house.records.set(one.id, one);
  expect((await get(house, `/v1/requests/${one.id}/video`)).json()).toMatchObject({ status: 404, code: "no-video" });
});

test.each([
  [new PermanentError("Not there: ana@example.com", { code: "not-found" }), 404, "no-video"],
  [new RetryableError("No answer for ana@example.com", { code: "no-answer" }), 503, "video-unavailable"],
  [new PermanentError("Too large, ana@example.com", { code: "too-large" }), 503, "video-unavailable"],
])("a provider that does not give the film is told by code, not in its own words", async (failure, status, code) => {
  const { house, path } = await withFilm(() => Promise.reject(failure));
  const answer = await get(house, path);
  expect(answer.json()).toMatchObject({ status, code });
  expect(answer.body).not.toContain("ana@");
});

test("an officer who goes away ends the call to the provider", async () => {
  let heard: AbortSignal | undefined;
  const body = new PassThrough();
  body.write(FILM);
  const { house, path } = await withFilm(async (signal) => {
    heard = signal;
    return { body };
  });
  const url = await house.listen();
  const leaving = new AbortController();
  const answer = await fetch(`${url}${path}`, { headers: AUTHORIZED, signal: leaving.signal });
  expect(answer.status).toBe(200);
  leaving.abort();
  await expect.poll(() => heard?.aborted).toBe(true);
  await expect.poll(() => body.destroyed).toBe(true);
});

test("the description for programs has the files, and the calls with which they are looked at", async () => {
  const house = await startApiHouse();
  const { paths } = (await house.app.inject({ url: "/openapi.json" })).json<ApiDocument>();
  const { requestBody } = paths["/v1/requests"]?.["post"] ?? {};
  const { schema } = requestBody?.content["multipart/form-data"] ?? {};
  expect(schema).toMatchObject({ properties: { enclosure: { type: "array", maxItems: 6 } } });
  expect(paths["/v1/requests/{id}/video"]?.["get"]?.operationId).toBe("getVideo");
  expect(paths["/v1/requests/{id}/enclosures/{name}"]?.["get"]?.operationId).toBe("getEnclosure");
});
