import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { plainPdf } from "../helpers/pdfs.ts";
import { startOwnRedis } from "../helpers/own-redis.ts";
import { freshFolder, spawnSignpipe, until } from "../helpers/signpipe-process.ts";

const MANIFEST = { signer: { email: "ana@example.com", mobile_phone_number: "+34699999999" } };

test("a start with a new simulator tells what the one before has taken with it", async () => {
  const redis = await startOwnRedis();
  const DATA_DIR = join(freshFolder(), "data");
  const begin = async () => {
    const env = { PATH: process.env["PATH"], DATA_DIR, REDIS_URL: redis.url, API_PORT: "0", LOG_LEVEL: "fatal" };
    const start = spawnSignpipe(["start"], env);
    const line = await until("the start", () => /^\{.*\}$/m.exec(start.out())?.[0]);
    return { ...start, api: (JSON.parse(line) as { api: string }).api };
  };
  const first = await begin();
  expect(first.err()).not.toContain("Open from an earlier run");

  const form = new FormData();
  form.set("manifest", JSON.stringify(MANIFEST));
  form.set("file", new Blob([new Uint8Array(await plainPdf())]), "a.pdf");
  const [, secret] = readFileSync(join(DATA_DIR, "keys", "api-keys"), "utf8")
    .trim()
    .split(":");
  const headers = { authorization: `Bearer ${secret}` };
  expect((await fetch(`${first.api}/v1/requests`, { method: "POST", headers, body: form })).status).toBe(202);
  first.child.kill("SIGINT");
  await first.ended;

  expect((await begin()).err()).toMatch(/Open from an earlier run: 1\..*retry them, or hand them in again/);
}, 60_000);
