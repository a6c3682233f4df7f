import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { Result } from "../../src/queues/answers.ts";
import { SIGNER } from "../helpers/house.ts";
import { startQueues, typesOf } from "../helpers/queues.ts";

const EXAMPLE = new URL("../../examples/queue/submit.mjs", import.meta.url).pathname;
const NO = /^NOPERM/;

/** The command of docs/queue.md as it stands there, for another prefix, name and password. */
function fromManual({ prefix, name, password }: { prefix: string; name: string; password: string }): string[] {
  const text = readFileSync(new URL("../../docs/queue.md", import.meta.url), "utf8");
  const [, block = ""] = /^```\n(ACL SETUSER loans [^]*?)^```$/m.exec(text) ?? [];
  const [, , , ...rules] = block.trim().split(/\s+/);
  return [name, ...rules.map((rule) => rule.replace("{signpipe}", prefix).replace(/^>.*/, `>${password}`))];
}

/** Reads a key with the command that fits it. */
async function read(redis: Redis, key: string, type: string): Promise<unknown> {
  const commands: Record<string, () => Promise<unknown>> = {
    string: () => redis.get(key),
    hash: () => redis.hgetall(key),
    list: () => redis.lrange(key, 0, -1),
    set: () => redis.smembers(key),
    zset: () => redis.zrange(key, "0", "-1"),
    stream: () => redis.xrange(key, "-", "+"),
  };
  return await commands[type]?.();
}

test("the Redis user of docs/queue.md hands in and takes results, and reaches nothing else of signpipe", async () => {
  const { house, jwk, redis } = await startQueues({}, true);
  const { REDIS_PREFIX: prefix } = house.app.settings;
  const [name, password] = [`loans-${randomBytes(4).toString("hex")}`, randomBytes(16).toString("hex")];
  const rules = fromManual({ prefix, name, password });
  expect(rules.length).toBeGreaterThan(8);
  await redis.call("ACL", "SETUSER", ...rules);
  onTestFinished(async () => {
    const admin = new Redis(house.redisUrl);
    await admin.call("ACL", "DELUSER", name);
    admin.disconnect();
  });
  const url = new URL(house.redisUrl);
  [url.username, url.password] = [name, password];

  // Somebody else's request is there, with all that it leaves in Redis.
  const other = await house.submit();
  await house.waits(other, "identification");

  const env = {
    ...process.env,
    REDIS_URL: url.href,
    REDIS_PREFIX: prefix,
    INTAKE_KEY: JSON.stringify(jwk),
    EMAIL: SIGNER.email,
    PHONE: SIGNER.mobile_phone_number,
  };
  const args = [EXAMPLE, "loan-2031", "lease.pdf", "--until", "request.waiting"];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { env, timeout: 60_000 });
  const told = stdout.trim().split("\n");
  expect(typesOf(told.map((line) => Result.parse(JSON.parse(line))))).toEqual(["request.accepted", "request.waiting"]);
  expect(stderr).not.toMatch(/NOPERM/);

  const loans = new Redis(url.href, { maxRetriesPerRequest: 1 });
  onTestFinished(() => loans.disconnect());
  const all = await redis.keys(`${prefix.replaceAll(/[{}]/g, "[$&]")}*`);
  const theirs = [`${prefix}:queue:intake:`, `${prefix}:queue:results:`];
  const ours = all.filter((key) => !theirs.some((one) => key.startsWith(one)));
  // Records, who signs, codes, jobs of stages, lists, marks.
  expect(ours.length).toBeGreaterThan(15);
  expect(ours.some((key) => key.includes(other))).toBe(true);
  for (const key of ours) {
    const type = await redis.type(key);
    await expect(read(loans, key, type), key).rejects.toThrow(NO);
    await expect(loans.eval("return redis.call('TYPE', ARGV[1])", 0, key), key).rejects.toThrow(/NOPERM|can't access/);
    await expect(loans.del(key), key).rejects.toThrow(NO);
    await expect(loans.copy(key, `${prefix}:queue:intake:stolen`), key).rejects.toThrow(NO);
    await expect(loans.rename(`${prefix}:queue:results:meta`, key), key).rejects.toThrow(NO);
  }
  const forbidden: [string, ...string[]][] = [
    ["KEYS", "*"],
    ["SCAN", "0"],
    ["RANDOMKEY"],
    ["DBSIZE"],
    ["FLUSHALL"],
    ["CONFIG", "GET", "*"],
    ["ACL", "LIST"],
    ["CLIENT", "LIST"],
    ["MONITOR"],
    ["SHUTDOWN"],
    ["SAVE"],
    ["SWAPDB", "0", "1"],
    ["SCRIPT", "FLUSH"],
    ["FUNCTION", "LIST"],
    ["SUBSCRIBE", "anything"],
    ["PUBLISH", "anything", "x"],
    ["SET", `${prefix}:mine`, "x"],
    ["SORT", `${prefix}:queue:intake:wait`, "BY", `${prefix}:*`],
  ];
  for (const [command, ...rest] of forbidden) {
    await expect(loans.call(command, ...rest), command).rejects.toThrow(NO);
  }
}, 90_000);
