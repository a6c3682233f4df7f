import { createHash } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { JPEG, MP4, PERSON, RAO, startHouse } from "./house.ts";
import type { House } from "./house.ts";

let house: House;
beforeAll(async () => void (house = await startHouse()));
afterEach(() => house.simulator.set({ externalOutcome: "by-content", videoPath: "both", videoidLink: "given" }));
afterAll(() => house.simulator.close());

const image = JPEG.toString("base64");
const { id_document_country: country, ...person } = PERSON;
const CHECKS = { otp_validation: true, documents_match: true, liveliness: true };

const evidences = (change: { images?: object; security_checks?: object; ocr_data?: object } = {}) => ({
  acceptance: { description: "accepted", "url-doc-privacypolicy": "https://example.com/privacy", date: 1622823879708 },
  videoid_data: {
    images: { document_front: image, document_rear: image, document_owner: image },
    ocr_data: { ...person, id_document_country: country },
    security_checks: CHECKS,
    similarity_level: "high",
    ...change,
  },
});

test("evidences and a video lead to the review, whichever comes first, and the person is known then", async () => {
  for (const order of [
    ["evidences", "video"],
    ["video", "evidences"],
  ] as const) {
    const { request_pk: pk, videoid_pk: videoidPk } = await house.create();
    const send = {
      evidences: () => house.call("POST", `/videoid/${videoidPk}/evidences`, evidences()),
      video: () => house.form(`/videoid/${videoidPk}/video`, { video: { bytes: MP4, type: "video/mp4" } }),
    };
    const says = { evidences: "Videoid evidences uploaded", video: "Videoid video upload completed" };
    for (const [i, step] of order.entries()) {
      expect(await send[step]()).toMatchObject({ status: 200, body: { status: "success", message: says[step] } });
      expect(house.simulator.statusOf(pk)).toBe(i === 0 ? "VIDEOINCOMPLETE" : "VIDEOREVIEW");
    }
    expect((await house.call("GET", `/request/${pk}`)).body).toMatchObject({ details: PERSON });
    expect((await house.call("POST", `/videoid/${videoidPk}/approve`, RAO)).status).toBe(200);
    expect(house.effects(pk)).toEqual(["create", ...order, "approve"]);
  }
});

test("a video comes back as it was sent, under either path, and only when it is there", async () => {
  const { request_pk: pk, videoid_pk: videoidPk } = await house.create();
  const video = Buffer.concat([MP4, Buffer.alloc(3_000_000, 1)]);
  expect((await house.call("GET", `/videoid/${videoidPk}/video`)).status).toBe(404);
  await house.form(`/videoid/${videoidPk}/video`, { video: { bytes: video, type: "video/mp4" } });
  expect(house.simulator.ledger.at(-1)).toMatchObject({
    effect: "video",
    request_pk: pk,
    bytes: video.length,
    sha256: createHash("sha256").update(video).digest("hex"),
  });
  for (const path of ["video", "download/video"])
    expect((await house.download(`/videoid/${videoidPk}/${path}`)).equals(video)).toBe(true);
  const statuses = async () => {
    const paths = ["video", "download/video"];
    const answers = await Promise.all(paths.map((path) => house.call("GET", `/videoid/${videoidPk}/${path}`)));
    return answers.map(({ status }) => status);
  };
  house.simulator.set({ videoPath: "plain" });
  expect(await statuses()).toEqual([200, 404]);
  house.simulator.set({ videoPath: "download" });
  expect(await statuses()).toEqual([405, 200]);
});

test("a part of the evidence is incomplete, and completing it leads on", async () => {
  const { request_pk: pk, videoid_pk: videoidPk } = await house.create();
  await house.form(`/videoid/${videoidPk}/video`, { video: MP4 });
  await house.call("POST", `/videoid/${videoidPk}/evidences`, evidences({ images: { document_rear: image } }));
  expect(house.simulator.statusOf(pk)).toBe("VIDEOINCOMPLETE");
  await house.call("POST", `/videoid/${videoidPk}/evidences`, evidences());
  expect(house.simulator.statusOf(pk)).toBe("VIDEOREVIEW");
  expect(await house.call("POST", `/videoid/${videoidPk}/evidences`, evidences())).toMatchObject({
    status: 412,
    body: { message: "Invalid request status" },
  });
});

test("a check that did not hold, or an empty video, fails the identification", async () => {
  const one = await house.create();
  const security_checks = { ...CHECKS, documents_match: false };
  await house.call("POST", `/videoid/${one.videoid_pk}/evidences`, evidences({ security_checks }));
  expect(house.simulator.statusOf(one.request_pk)).toBe("VIDEOERROR");
  const two = await house.create();
  await house.form(`/videoid/${two.videoid_pk}/video`, { video: Buffer.alloc(0) });
  expect(house.simulator.statusOf(two.request_pk)).toBe("VIDEOERROR");
});

test("the outcome can be fixed, whatever was sent", async () => {
  house.simulator.set({ externalOutcome: "incomplete" });
  const one = await house.create();
  await house.form(`/videoid/${one.videoid_pk}/video`, { video: MP4 });
  await house.call("POST", `/videoid/${one.videoid_pk}/evidences`, evidences());
  expect(house.simulator.statusOf(one.request_pk)).toBe("VIDEOINCOMPLETE");
  house.simulator.set({ externalOutcome: "error" });
  const two = await house.create();
  await house.call("POST", `/videoid/${two.videoid_pk}/evidences`, evidences());
  expect(house.simulator.statusOf(two.request_pk)).toBe("VIDEOERROR");
});

test("evidences that lack what they need are told where, and nothing is done", async () => {
  const { request_pk: pk, videoid_pk: videoidPk } = await house.create();
  const path = `/videoid/${videoidPk}/evidences`;
  const { serial_number: _number, ...ocr_data } = person;
  expect(await house.call("POST", path, evidences({ ocr_data }))).toMatchObject({
    status: 422,
    body: { detail: [{ loc: ["body", "videoid_data", "ocr_data", "serial_number"] }] },
  });
  expect((await house.call("POST", path, evidences({ images: { document_front: "not base64!" } }))).status).toBe(422);
  expect((await house.form(`/videoid/${videoidPk}/video`, { film: MP4 })).status).toBe(422);
  expect((await house.form("/videoid/1/video", { video: MP4 })).status).toBe(404);
  expect((await house.call("POST", "/videoid/1/evidences", evidences())).status).toBe(404);
  expect(house.simulator.statusOf(pk)).toBe("VIDEOPENDING");
});

test("images larger than other bodies may be are taken", async () => {
  const { videoid_pk: videoidPk } = await house.create();
  const large = Buffer.concat([JPEG, Buffer.alloc(6_000_000)]).toString("base64");
  const images = { document_front: large, document_owner: image };
  expect((await house.call("POST", `/videoid/${videoidPk}/evidences`, evidences({ images }))).status).toBe(200);
});

test("the link of an external request can be empty", async () => {
  house.simulator.set({ videoidLink: "empty" });
  expect((await house.create()).videoid_link).toBe("");
});
