import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { type ApiHouse, startApiHouse } from "../helpers/api-house.ts";
import { closeBrowser, DESK, expectUsable, hasBrowser, NARROW, openPage, PHONE, tabTo } from "../helpers/browser.ts";

afterAll(closeBrowser);

describe.skipIf(!hasBrowser)("the API's page", () => {
  let house: ApiHouse;
  let url: string;
  beforeEach(async () => {
    house = await startApiHouse();
    url = `${await house.listen()}/docs`;
  });

  test("explains every call, loads nothing but its own style, and can be followed", async () => {
    const page = await openPage(DESK);
    const answer = await page.goto(url);
    expect(answer?.headers()["content-security-policy"]).toMatch(/default-src 'none'; style-src 'self'/);
    expect(answer?.headers()["content-security-policy"]).not.toMatch(/script-src|unsafe/);
    expect(await page.getByRole("heading", { level: 1 }).textContent()).toContain("API");
    const links = await page.getByRole("navigation").getByRole("link").all();
    expect(links.length).toBeGreaterThan(15);
    for (const link of links) {
      const target = (await link.getAttribute("href")) ?? "";
      if (target.startsWith("#")) expect(await page.locator(`[id="${target.slice(1)}"]`).count(), target).toBe(1);
    }
    await page.getByRole("navigation").getByRole("link", { name: "Hand over the signer's code" }).click();
    expect(await page.locator("article:target").getByRole("heading", { level: 3 }).isVisible()).toBe(true);
    await page.goto(`${url}#problem-idempotency-mismatch`);
    expect(await page.locator("tr:target").isVisible()).toBe(true);
  });

  test("is gone through with the keyboard alone", async () => {
    const page = await openPage(DESK);
    await page.goto(url);
    await page.keyboard.press("Tab");
    const skip = page.getByRole("link", { name: "Skip to the calls" });
    await expect.poll(() => page.evaluate("document.activeElement.textContent")).toBe("Skip to the calls");
    await expect.poll(async () => (await skip.boundingBox())?.x).toBeGreaterThanOrEqual(0);
    await page.keyboard.press("Enter");
    await page.waitForURL(/#main$/);
    const closed = page.locator("main details").first();
    const title = (await closed.locator("summary").textContent())?.trim() ?? "";
    await tabTo(page, title);
    await page.keyboard.press("Space");
    await expect.poll(() => closed.getAttribute("open")).toBe("");
  });

  test.each(["light", "dark"] as const)(
    "is readable on every screen, %s, with everything unfolded",
    async (colorScheme) => {
      for (const size of [NARROW, PHONE, DESK]) {
        const page = await openPage({ ...size, colorScheme });
        await page.goto(url);
        await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })");
        await expectUsable(page);
      }
    },
  );
});
