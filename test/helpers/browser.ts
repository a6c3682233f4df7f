import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { expect, onTestFinished } from "vitest";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
/** Without a sandbox, since tests run as root in containers; the rest keeps the browser from calling home. */
const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"].concat([
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]);

const executablePath = (process.env["PATH"] ?? "")
  .split(delimiter)
  .flatMap((folder) => NAMES.map((name) => join(folder, name)))
  .find((path) => existsSync(path));

/** False where no browser is, and then it was said. */
export const hasBrowser = executablePath !== undefined;
if (!hasBrowser) process.stderr.write("signpipe: no chromium is here: the browser tests are skipped.\n");

export const PHONE: BrowserContextOptions = {
  viewport: { width: 390, height: 844 },
  deviceScaleFactor: 2,
  isMobile: true,
  hasTouch: true,
};
export const NARROW = { viewport: { width: 320, height: 640 } };
export const DESK = { viewport: { width: 1280, height: 900 } };

let browser: Promise<Browser> | undefined;

/** Ends the browser of this file; for afterAll. */
export async function closeBrowser(): Promise<void> {
  await (await browser)?.close();
  browser = undefined;
}

/**
 * A page as a person has it who was never here. When the test is over, nothing may have been asked of another host, and
 * nothing said on the console, but for what the test expects (`expected`).
 */
export async function openPage(options: BrowserContextOptions = DESK, { expected = /^$/ } = {}): Promise<Page> {
  browser ??= chromium.launch({ ...(executablePath && { executablePath }), args: ARGS });
  const context = await (await browser).newContext({ ...options, locale: "en-GB", timezoneId: "UTC" });
  await context.addInitScript({ path: new URL("./in-page.mjs", import.meta.url).pathname });
  const page = await context.newPage();
  const trouble: string[] = [];
  const hosts = new Set<string>();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !expected.test(message.text())) trouble.push(message.text());
  });
  page.on("pageerror", (error) => void trouble.push(String(error)));
  context.on("request", (request) => {
    const { protocol, hostname } = new URL(request.url());
    if (protocol !== "data:") hosts.add(hostname);
  });
  onTestFinished(async () => {
    await context.close();
    expect(trouble, "on the console").toEqual([]);
    expect([...hosts], "hosts that were asked").toEqual(["127.0.0.1"]);
  });
  page.setDefaultTimeout(10_000);
  return page;
}

async function ask<T>(page: Page, question: "nameless" | "focused" | "faint" | "sideways"): Promise<T> {
  return await page.evaluate<T>(`inPage.${question}()`);
}

/**
 * What holds of every page, for everybody: it does not scroll sideways, every text can be told from its ground, and
 * whatever can be used has a name.
 */
export async function expectUsable(page: Page): Promise<void> {
  expect(await ask<number>(page, "sideways"), "pixels to scroll sideways").toBe(0);
  expect(await ask<string[]>(page, "faint"), "texts that are hard to read").toEqual([]);
  expect(await ask<string[]>(page, "nameless"), "elements without a name").toEqual([]);
}

/** Presses Tab until the element with this text or label has the focus, as somebody without a mouse does. */
export async function tabTo(page: Page, name: string): Promise<void> {
  for (let i = 0; i < 100; i++) {
    await page.keyboard.press("Tab");
    if ((await ask<string>(page, "focused")).startsWith(name)) return;
  }
  throw new Error(`"${name}" is not reached with Tab`);
}
