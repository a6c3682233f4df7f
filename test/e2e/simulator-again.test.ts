import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { plainPdf } from "../helpers/pdfs.ts";
import { startOwnRedis } from "../helpers/own-redis.ts";
import { freshFolder, spawnSignpipe, until } from "../helpers/signpipe-process.ts";

const MANIFEST = { signer: { email: "ana@example.com", mobile_phone_number: "+34699999999" } };

test("a request goes on after a new start, and the signer's link is the same", async () => {
  const redis = await startOwnRedis();
  const DATA_DIR = join(freshFolder(), "data");
  const begin = async () => {
    const env = { PATH: process.env["PATH"], DATA_DIR, REDIS_URL: redis.url, API_PORT: "0", LOG_LEVEL: "fatal" };
    const start = spawnSignpipe(["start"], env);
    const line = await until("the start", () => /^\{.*\}$/m.exec(start.out())?.[0]);
    return { ...start, api: (JSON.parse(line) as { api: string }).api };
  };
  const first = await begin();
  const [, secret] = readFileSync(join(DATA_DIR, "keys", "api-keys"), "utf8")
    .trim()
    .split(":");
  const headers = { authorization: `Bearer ${secret}` };
  type Shown = { id: string; waiting_for?: string; videoid_link?: string };
  const shown = async (api: string, id: string) =>
    (await (await fetch(`${api}/v1/requests/${id}`, { headers })).json()) as Shown;
  const waitsFor = async (api: string, id: string, what: string) => {
    let at: Shown = { id };
    for (const late = Date.now() + 30_000; Date.now() < late;) {
      at = await shown(api, id);
      if (JSON.stringify(at).includes(`"${what}"`)) return at;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`${id} does not wait for ${what}: ${JSON.stringify(at)}`);
  };

  const form = new FormData();
  form.set("manifest", JSON.stringify(MANIFEST));
  form.set("file", new Blob([new Uint8Array(await plainPdf())]), "a.pdf");
  const answer = await fetch(`${first.api}/v1/requests`, { method: "POST", headers, body: form });
  const { id } = (await answer.json()) as Shown;
  const { videoid_link: link = "" } = await waitsFor(first.api, id, "identification");
  first.child.kill("SIGINT");
  await first.ended;

  const second = await begin();
  const page = await fetch(link, { method: "POST", body: new URLSearchParams({ outcome: "complete" }) });
  expect(await page.text()).toContain("Thank you, that was all");
  await waitsFor(second.api, id, "approval");
}, 90_000);
