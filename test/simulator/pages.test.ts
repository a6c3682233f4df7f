import { afterAll, beforeAll, expect, test } from "vitest";
import { samplePdf, SIGNER, startHouse } from "./house.ts";
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
