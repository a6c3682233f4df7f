import { afterAll, beforeAll, expect, test } from "vitest";
import { JPEG, MP4, samplePdf, SIGNER, startHouse } from "./house.ts";
import type { House } from "./house.ts";

let house: House;
beforeAll(async () => void (house = await startHouse()));
afterAll(() => house.simulator.close());

async function page(url: string): Promise<{ status: number; text: string; policy: string }> {
  const answer = await fetch(url);
  return {
    status: answer.status,
    text: await answer.text(),
    policy: answer.headers.get("content-security-policy") ?? "",
  };
}

test("the signer's page offers three ends while the identification is open, and none afterwards", async () => {
  const { videoid_link: link, request_pk: pk } = await house.create();
  const open = await page(link);
  expect(open.text.match(/<button[^>]*value="(complete|incomplete|fail)"/g)).toHaveLength(3);
  expect(open.text).toContain("nothing is legally signed");
  expect(open.policy).toContain("default-src 'none'");
  expect(open.text).not.toContain(SIGNER.email);
  await fetch(link, { method: "POST", body: new URLSearchParams({ outcome: "incomplete" }) });
  expect((await page(link)).text.match(/<button/g)).toHaveLength(2);
  await fetch(link, { method: "POST", body: new URLSearchParams({ outcome: "complete" }) });
  expect((await page(link)).text).not.toContain("<button");
  expect(house.simulator.statusOf(pk)).toBe("VIDEOREVIEW");
});

test("what is typed on the signer's page is who the request is of", async () => {
  const { videoid_link: link, request_pk: pk } = await house.create();
  const person = { given_name: "Ana", surname_1: "López", surname_2: "Ruiz", serial_number: "12345678Z" };
  await fetch(link, { method: "POST", body: new URLSearchParams({ outcome: "complete", ...person }) });
  expect((await house.call("GET", `/request/${pk}`)).body).toMatchObject({ details: person });
});

test("a guessed link leads nowhere", async () => {
  const { videoid_pk: videoidPk } = await house.create();
  const guessed = Buffer.from(`${videoidPk}.0000000000000000`).toString("base64url");
  expect((await page(`${house.simulator.origin}/identify/${guessed}`)).status).toBe(404);
});

test("the text messages show the codes and hide the numbers", async () => {
  const { pk, secret } = await house.armed(await samplePdf());
  const { text } = await page(`${house.simulator.origin}/_sim/sms`);
  expect(text).toContain(secret);
  expect(text).toContain(`request ${pk}`);
  expect(text).toContain('http-equiv="refresh"');
  expect(text).not.toContain(SIGNER.mobile_phone_number);
});

test("the overview lists requests with their state and links", async () => {
  const { request_pk: pk, videoid_link: link } = await house.create();
  const { text } = await page(`${house.simulator.origin}/_sim/`);
  expect(text).toContain(String(pk));
  expect(text).toContain(new URL(link).pathname);
  expect(text).toContain("VIDEOPENDING");
});

test("what somebody types into the name field comes out as text", async () => {
  const { videoid_link: link, request_pk: pk } = await house.create();
  await fetch(link, { method: "POST", body: new URLSearchParams({ outcome: "complete", given_name: "<b>Eva</b>" }) });
  expect((await house.call("GET", `/request/${pk}`)).body).toMatchObject({ details: { given_name: "<b>Eva</b>" } });
  expect((await page(link)).text).not.toContain("<b>Eva");
});

async function decideOn(pk: number, decision: string, reason = ""): Promise<void> {
  const body = new URLSearchParams({ decision, reason });
  await fetch(`${house.simulator.origin}/_sim/officer/${pk}`, { method: "POST", body });
}

test("the officer's page shows what waits for a decision, with its pictures, and takes the decision", async () => {
  const { request_pk: pk, videoid_pk: videoidPk } = await house.create();
  const officer = () => page(`${house.simulator.origin}/_sim/officer`);
  expect((await officer()).text).not.toContain(String(videoidPk));
  const image = JPEG.toString("base64");
  await house.form(`/videoid/${videoidPk}/video`, { video: MP4 });
  await house.call("POST", `/videoid/${videoidPk}/evidences`, {
    videoid_data: {
      images: { document_front: image, document_owner: image, document_rear: Buffer.from("text").toString("base64") },
      ocr_data: { given_name: "Ana", surname_1: "<López>", serial_number: "12345678Z" },
      similarity_level: "high",
    },
  });
  const { text } = await officer();
  expect(text).toContain("Ana &#60;López&#62;");
  expect(text).toContain("12345678Z");
  expect(text).not.toContain(SIGNER.email);
  const pictures = [...text.matchAll(/src="(\/_sim\/identity\/[^"]+)"/g)].map(([, path]) => path ?? "");
  expect(pictures).toHaveLength(2);
  const picture = await fetch(house.simulator.origin + (pictures[0] ?? ""));
  expect([picture.headers.get("content-type"), picture.headers.get("x-content-type-options")]).toEqual([
    "image/jpeg",
    "nosniff",
  ]);
  expect(Buffer.from(await picture.arrayBuffer()).equals(JPEG)).toBe(true);
  expect((await page(`${house.simulator.origin}/_sim/identity/unknown`)).status).toBe(404);
  await decideOn(pk, "approve");
  expect(house.simulator.statusOf(pk)).toBe("ENROLLREADY");
  expect((await officer()).text).not.toContain(String(videoidPk));
});

test("in 2-step mode the officer's page validates first, and can refuse with a reason", async () => {
  house.simulator.set({ videoidMode: 2 });
  const { request_pk: pk } = await house.create();
  house.simulator.set({ videoidMode: 1 });
  house.simulator.identify(pk, "complete");
  const offers = async () => {
    const { text } = await page(`${house.simulator.origin}/_sim/officer`);
    const card = text.split("<section").find((part) => part.includes(`/_sim/officer/${pk}"`)) ?? "";
    return [...card.matchAll(/name="decision" value="(\w+)"/g)].map(([, decision]) => decision);
  };
  expect(await offers()).toEqual(["validate", "refuse"]);
  await decideOn(pk, "validate");
  expect(await offers()).toEqual(["approve", "refuse"]);
  await decideOn(pk, "refuse", "not the same person");
  expect((await house.call("GET", `/request/${pk}`)).body).toMatchObject({
    details: { status: "CANCELLED", videoid_data: { refusal_reason: "not the same person" } },
  });
});

test("a classic request has no signer's page, and one in review leads to the officer", async () => {
  const pk = await house.classicPk();
  const { request_pk: other } = await house.create();
  house.simulator.identify(other, "complete");
  const { text } = await page(`${house.simulator.origin}/_sim/`);
  const rowOf = (number: number) => text.split("<tr>").find((row) => row.includes(`>${number}<`)) ?? "";
  expect(rowOf(pk)).toContain("classic");
  expect(rowOf(pk)).not.toContain("/identify/");
  expect(rowOf(other)).toContain("/_sim/officer");
});
