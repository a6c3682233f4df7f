import { spawn } from "node:child_process";
import { expect, test } from "vitest";
import { freePort } from "../../src/embedded/server.ts";
import { startHouse } from "../helpers/house.ts";

const HEALTHY = new URL("../../docker/healthy.mjs", import.meta.url).pathname;

/** The health check of a container, as the engine runs it. */
async function check(part: string, env: Record<string, string>): Promise<{ exitCode: number | null; said: string }> {
  const child = spawn(process.execPath, [HEALTHY, part], { env, stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const exitCode = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { exitCode, said };
}

test("a container is healthy while its part is, and else says what is wrong", async () => {
  const house = await startHouse();
  const API_PORT = new URL(house.api).port;
  expect(await check("api", { API_PORT })).toEqual({ exitCode: 0, said: "" });
  expect(await check("workers", { REDIS_URL: house.redisUrl })).toEqual({ exitCode: 0, said: "" });

  const nobody = String(await freePort());
  const away = await check("inbox", { REDIS_URL: `redis://127.0.0.1:${nobody}` });
  expect(away).toMatchObject({ exitCode: 1, said: expect.stringMatching(/^inbox: .+\n$/) });
  expect(await check("inbox", {})).toEqual({ exitCode: 1, said: "inbox: REDIS_URL is not set\n" });
  expect((await check("api", { API_PORT: nobody })).exitCode).toBe(1);
});
