import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { closeBrowser, DESK, expectUsable, hasBrowser, NARROW, openPage, PHONE, tabTo } from "../helpers/browser.ts";
import { type House, SIGNER, startHouse } from "../helpers/house.ts";

afterAll(closeBrowser);

describe.skipIf(!hasBrowser)("the simulator's pages", () => {
  let house: House;
  beforeEach(async () => {
    house = await startHouse();
  });

  async function invited(): Promise<{ id: string; link: string; pk: number }> {
    const id = await house.submit();
    await house.waits(id, "identification");
    const { videoidLink: link, requestPk: pk } = (await house.app.store.get(id)).facts;
    return { id, link: link as string, pk: pk as number };
  }

  test("a signer identifies on a telephone, and the request goes on", async () => {
    const { id, link } = await invited();
    const page = await openPage(PHONE);
    const answer = await page.goto(link);
    expect(answer?.headers()).toMatchObject({
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "content-security-policy": expect.stringContaining("default-src 'none'") as string,
    });
    expect(await page.getByText("nothing is legally signed").isVisible()).toBe(true);
    expect(await page.getByRole("heading", { level: 1 }).textContent()).toBe("Confirm who you are");
    const button = page.getByRole("button", { name: "Complete the identification" });
    expect((await button.boundingBox())?.height).toBeGreaterThanOrEqual(44); // a thumb's width
    for (const secret of [SIGNER.email, SIGNER.mobile_phone_number]) expect(await page.content()).not.toContain(secret);
    await button.tap();
    await page.getByRole("heading", { name: "Thank you, that was all" }).waitFor();
    expect(page.url()).toBe(link); // going back or reloading sends nothing twice
    expect(await page.getByRole("button").count()).toBe(0);
    await expectUsable(page);
    await house.waits(id, "approval");
  });

  test("a signer leaves, comes back, gives a name, and lets it fail, all without a mouse", async () => {
    const { id, link, pk } = await invited();
    const page = await openPage(DESK);
    await page.goto(link);
    await tabTo(page, "Leave it unfinished");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Not finished yet" }).waitFor();
    expect(house.simulator.statusOf(pk)).toBe("VIDEOINCOMPLETE");
    expect(await page.getByRole("button", { name: "Leave it unfinished" }).count()).toBe(0);
    await tabTo(page, "Name on the identity document");
    await page.keyboard.press("Enter");
    await page.getByLabel("Given name").waitFor();
    await tabTo(page, "Given name");
    await page.keyboard.type("Ana <b>");
    await expectUsable(page);
    await tabTo(page, "Let it fail");
    await page.keyboard.press("Enter");
    // The pipeline may have ended the request before the page is there.
    await page.getByRole("heading", { name: /That did not work|This request has ended/ }).waitFor();
    expect(await page.getByRole("button").count()).toBe(0);
    await house.reaches(id, "cleanup", "failed");
    await page.reload();
    await page.getByRole("heading", { name: "This request has ended" }).waitFor();
  });

  test("a text message arrives on the page by itself, and its code signs", async () => {
    const { id, pk } = await invited();
    const page = await openPage(PHONE);
    await page.goto(`${house.simulator.origin}/_sim/sms`);
    await page.getByText("No messages yet.").waitFor();
    house.simulator.identify(pk, "complete");
    await house.waits(id, "approval");
    await house.call("POST", `/v1/requests/${id}/approve`);
    await house.waits(id, "code");
    const code = page.locator(".code");
    await code.waitFor(); // nobody reloads
    expect(await page.content()).not.toContain(SIGNER.mobile_phone_number);
    await expectUsable(page);
    await house.call("POST", `/v1/requests/${id}/code`, { secret: await code.textContent() });
    await house.reaches(id, "cleanup", "done");
  });

  test("the overview leads from a request to its signer's page, and shows who is where and not who it is", async () => {
    const { link, pk } = await invited();
    const page = await openPage(DESK);
    await page.goto(house.simulator.origin);
    const row = page.getByRole("row").filter({ hasText: String(pk) });
    expect(await row.getByText("VIDEOPENDING").isVisible()).toBe(true);
    expect(await page.content()).not.toContain(SIGNER.email);
    await row.getByRole("link", { name: "signer's page" }).click();
    await page.getByRole("heading", { name: "Confirm who you are" }).waitFor();
    expect(page.url()).toBe(link);
  });

  test.each(["light", "dark"] as const)(
    "are readable on the narrowest screen and the desk, %s",
    async (colorScheme) => {
      const { link, id, pk } = await invited();
      house.simulator.identify(pk, "complete");
      await house.waits(id, "approval");
      await house.call("POST", `/v1/requests/${id}/approve`);
      await house.waits(id, "code");
      const other = await invited();
      const { origin } = house.simulator;
      const pages = ["/_sim/", "/_sim/sms", "/_sim/officer", "/identify/guessed"];
      for (const size of [NARROW, DESK]) {
        const page = await openPage({ ...size, colorScheme }, { expected: /status of 404/ });
        for (const url of [link, other.link, ...pages.map((path) => origin + path)]) {
          await page.goto(url);
          await expectUsable(page);
        }
      }
    },
  );
});
