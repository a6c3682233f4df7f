import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { closeBrowser, DESK, expectUsable, hasBrowser, NARROW, openPage, tabTo } from "../helpers/browser.ts";
import { type House, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";

afterAll(closeBrowser);

describe.skipIf(!hasBrowser)("the queue board", () => {
  let house: House;
  let id: string;
  beforeEach(async () => {
    house = await startHouse();
    id = await house.submit({}, [{ name: "Contract of Canaria.pdf", bytes: await samplePdf() }]);
    await house.waits(id, "identification");
  });
  const key = () => house.keyRing.apiKeys[0]?.secret ?? "";

  test("opens with a key, shows jobs as ids and nothing about people, and closes with the logout", async () => {
    const page = await openPage(DESK, { expected: /status of 401/ });
    await page.goto(`${house.api}/queues`);
    expect(page.url()).toBe(`${house.api}/queues/login`);
    expect(await page.getByLabel("API key").getAttribute("type")).toBe("password");

    await page.getByLabel("API key").fill("canary-typo");
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("alert").getByText("This is not one of the keys.").waitFor();
    expect(await page.getByLabel("API key").inputValue()).toBe("");
    expect(page.url()).not.toContain("canary");

    await page.getByLabel("API key").fill(key());
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "identify" }).first().waitFor();
    expect(page.url()).toBe(`${house.api}/queues`);
    const [cookie] = await page.context().cookies();
    expect(cookie).toMatchObject({ name: "signpipe_board", httpOnly: true, sameSite: "Strict", path: "/queues" });
    expect(await page.evaluate("document.cookie")).toBe("");
    expect(await page.evaluate("JSON.stringify({ ...localStorage, ...sessionStorage })")).not.toContain(key());

    const texts: string[] = [];
    for (const path of ["", "queue/identify?status=delayed", `queue/identify/${id}?status=delayed`]) {
      const answer = await page.goto(`${house.api}/queues/${path}`);
      expect(answer?.headers()["content-security-policy"]).toMatch(/default-src 'none'; script-src 'self'/);
      if (path !== "") await page.getByText(id).first().waitFor();
      texts.push(await page.content());
    }
    for (const canary of [SIGNER.email, SIGNER.mobile_phone_number, "Canaria", key()]) {
      expect(texts.join("\n")).not.toContain(canary);
    }

    await page.goto(`${house.api}/queues/logout`);
    await expectUsable(page);
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("API key").waitFor();
    await page.goto(`${house.api}/queues/queue/identify`);
    expect(page.url()).toBe(`${house.api}/queues/login`);
    expect(await page.context().cookies()).toEqual([]);
  });

  test("has its way out in its menu", async () => {
    const page = await openPage(DESK);
    await page.goto(`${house.api}/queues`);
    await page.getByLabel("API key").fill(key());
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "identify" }).first().waitFor();
    for (const { viewport } of [NARROW, DESK]) {
      await page.setViewportSize(viewport);
      await expect.poll(() => page.evaluate("inPage.sideways()")).toBe(0);
    }
    await page.locator("header button[aria-haspopup=menu]").click();
    await page.getByText("Log out").click();
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("API key").waitFor();
  });

  test("offers nothing that changes a queue", async () => {
    const page = await openPage(DESK);
    await page.goto(`${house.api}/queues`);
    await page.getByLabel("API key").fill(key());
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "identify" }).first().waitFor(); // the way in is over
    await page.goto(`${house.api}/queues/queue/identify?status=delayed`);
    await page.getByText(id).first().waitFor();
    for (const name of [/promote/i, /retry/i, /clean|delete|remove/i, /pause/i, /add job/i, /obliterate/i]) {
      expect(await page.getByRole("button", { name }).count(), String(name)).toBe(0);
    }
  });

  test.each(["light", "dark"] as const)(
    "has a login for every screen and for the keyboard, %s",
    async (colorScheme) => {
      for (const size of [NARROW, DESK]) {
        const page = await openPage({ ...size, colorScheme }, { expected: /status of 401/ });
        await page.goto(`${house.api}/queues/login`);
        await expectUsable(page);
        await page.keyboard.type("wrong"); // the field has the focus already
        await tabTo(page, "Log in");
        await page.keyboard.press("Enter");
        await page.getByRole("alert").waitFor();
        await expectUsable(page);
      }
    },
  );
});
