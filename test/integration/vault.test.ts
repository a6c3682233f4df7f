import { randomBytes } from "node:crypto";
import type { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { createCodes } from "../../src/queues/codes.ts";
import { seal, sealCallback, unseal, unsealCallback } from "../../src/queues/seal.ts";
import { createVault } from "../../src/queues/vault.ts";
import { memorySpare, newId, startToy } from "../helpers/toy.ts";

const PERSON = {
  signer: { email: "ana.canary@example.com", mobile_phone_number: "+34699000111", given_name: "Canaria" },
  unlock: "canary-unlock",
};
const UNREADABLE = { kind: "permanent", code: "vault-unreadable" };

/** All that is in Redis under the prefix, as one text: keys, values, and what Base64 hides in the values. */
async function everything(redis: Redis, prefix: string): Promise<string> {
  const keys = await redis.keys(`${prefix.replaceAll(/[{}]/g, "[$&]")}*`);
  const texts: string[] = [];
  for (const key of keys) {
    const type = await redis.type(key);
    const values =
      type === "hash" ? Object.entries(await redis.hgetall(key)).flat() : [(await redis.get(key)) ?? "nothing"];
    texts.push(key, ...values, ...values.map((value) => Buffer.from(value, "base64").toString("latin1")));
  }
  return texts.join("\n");
}

describe("the vault", () => {
  test("gives back who signs, and Redis holds nothing of it that can be read", async () => {
    const { redis, keys, vault } = await startToy([]);
    const id = newId();
    await vault.keep(id, PERSON);
    await vault.keepNote(id, "reason", "The canary photo is blurred");
    expect(await vault.read(id)).toEqual(PERSON);
    expect(await vault.readNote(id, "reason")).toBe("The canary photo is blurred");
    const text = await everything(redis, keys.prefix);
    expect(text).toContain(id);
    expect(text).not.toMatch(/canary|canaria|example\.com|699000111|blurred/i);
    expect(Object.keys(await redis.hgetall(keys.vault(id))).sort()).toEqual(["key", "person", "reason"]);
  });

  test("has a key for each request, wrapped by the master key, and each keeping has a new one", async () => {
    const masterKey = randomBytes(32);
    const { redis, keys } = await startToy([]);
    const vault = createVault({ redis, keys, masterKey, spare: memorySpare() });
    const [one, two] = [newId(), newId()];
    const unwrapped = async (id: string) =>
      unseal(masterKey, (await redis.hget(keys.vault(id), "key")) ?? "", `${id}:key`);
    await vault.keep(one, PERSON);
    await vault.keep(two, PERSON);
    const first = await unwrapped(one);
    expect(first).toHaveLength(32);
    expect(first.equals(await unwrapped(two))).toBe(false);
    // What is inside opens with the request's key and not with the master key.
    const sealed = (await redis.hget(keys.vault(one), "person")) ?? "";
    expect(JSON.parse(unseal(first, sealed, `${one}:person`).toString())).toEqual(PERSON);
    expect(() => unseal(masterKey, sealed, `${one}:person`)).toThrow(/MASTER_KEY/);
    await vault.keep(one, PERSON);
    expect(first.equals(await unwrapped(one))).toBe(false);
    expect(await vault.read(one)).toEqual(PERSON);
  });

  test("says clearly that the master key is another one", async () => {
    const { redis, keys, vault } = await startToy([]);
    const id = newId();
    await vault.keep(id, PERSON);
    await vault.keepNote(id, "reason", "blurred");
    const other = createVault({ redis, keys, masterKey: randomBytes(32), spare: memorySpare() });
    await expect(other.read(id)).rejects.toMatchObject({
      ...UNREADABLE,
      message: "Encrypted data cannot be read: MASTER_KEY is not the one that it was encrypted with",
    });
    await expect(other.readNote(id, "reason")).rejects.toMatchObject(UNREADABLE);
    await expect(other.keepNote(id, "reason", "new")).rejects.toMatchObject(UNREADABLE);
    expect(await vault.readNote(id, "reason")).toBe("blurred");
  });

  test("erases all of it, the key first of all, and a late note does not come back to life", async () => {
    const { redis, keys, vault } = await startToy([]);
    const id = newId();
    await vault.keep(id, PERSON);
    await vault.keepNote(id, "reason", "blurred");
    await vault.erase(id);
    expect(await redis.exists(keys.vault(id))).toBe(0);
    await vault.keepNote(id, "reason", "too late");
    expect(await redis.exists(keys.vault(id))).toBe(0);
    expect([await vault.read(id), await vault.readNote(id, "reason")]).toEqual([undefined, undefined]);
    await vault.erase(id);
  });

  test("refuses what was exchanged between requests or fields, also together with its key", async () => {
    const { redis, keys, vault } = await startToy([]);
    const [ana, eva] = [newId(), newId()];
    await vault.keep(ana, PERSON);
    await vault.keep(eva, { signer: { ...PERSON.signer, email: "eva@example.com" } });
    await vault.keepNote(eva, "reason", "blurred");
    const anas = await redis.hgetall(keys.vault(ana));
    const evas = await redis.hgetall(keys.vault(eva));

    await redis.hset(keys.vault(eva), { person: anas["person"] ?? "" });
    await expect(vault.read(eva)).rejects.toMatchObject(UNREADABLE);
    await redis.hset(keys.vault(eva), { key: anas["key"] ?? "", person: anas["person"] ?? "" });
    await expect(vault.read(eva)).rejects.toMatchObject(UNREADABLE);
    await redis.hset(keys.vault(eva), { ...evas, person: evas["reason"] ?? "" });
    await expect(vault.read(eva)).rejects.toMatchObject(UNREADABLE);
    await redis.hset(keys.vault(eva), evas);
    expect((await vault.read(eva))?.signer.email).toBe("eva@example.com");
  });

  test("refuses what was changed in a single bit, cut short, or is not ours at all", async () => {
    const { redis, keys, vault } = await startToy([]);
    const id = newId();
    await vault.keep(id, PERSON);
    const whole = await redis.hgetall(keys.vault(id));
    for (const field of ["key", "person"]) {
      const bytes = Buffer.from(whole[field] ?? "", "base64");
      // The nonce, what is encrypted, and the tag.
      for (const at of [0, 11, 12, bytes.length - 17, bytes.length - 16, bytes.length - 1]) {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ 1;
        await redis.hset(keys.vault(id), { ...whole, [field]: changed.toString("base64") });
        await expect(vault.read(id), `${field}, byte ${at}`).rejects.toMatchObject(UNREADABLE);
      }
      for (const length of [1, 4, 12, 16, 27, 28, bytes.length - 1]) {
        const cut = bytes.subarray(0, length).toString("base64");
        await redis.hset(keys.vault(id), { ...whole, [field]: cut });
        await expect(vault.read(id), `${field} of ${length} bytes`).rejects.toMatchObject(UNREADABLE);
      }
      await redis.hset(keys.vault(id), { ...whole, [field]: "no Base64 at all: {}" });
      await expect(vault.read(id)).rejects.toMatchObject(UNREADABLE);
    }
  });
});

test("sealing the same twice gives two texts, and a short tag is none", () => {
  const key = randomBytes(32);
  expect(seal(key, "same", "context")).not.toBe(seal(key, "same", "context"));
  expect(unseal(key, seal(key, "", "context"), "context")).toHaveLength(0);
  // Node takes tags of 4 bytes when nobody says how long they are; of 28 bytes here, 12 are the nonce and 16 the tag.
  const whole = Buffer.from(seal(key, "", "context"), "base64");
  expect(() => unseal(key, whole.subarray(0, 16).toString("base64"), "context")).toThrow(/MASTER_KEY/);
});

test("a callback's address opens for its own request only", () => {
  const [key, one, two] = [randomBytes(32), newId(), newId()];
  const sealed = sealCallback(key, one, "https://example.com/?token=canary");
  expect(Buffer.from(sealed, "base64").toString("latin1")).not.toContain("canary");
  expect(unsealCallback(key, one, sealed)).toBe("https://example.com/?token=canary");
  expect(() => unsealCallback(key, two, sealed)).toThrow(/MASTER_KEY/);
});

describe("a one-time code", () => {
  test("is encrypted, and gone after ten minutes at the latest", async () => {
    const { redis, keys, codes } = await startToy([]);
    const id = newId();
    await codes.keep(id, "493817");
    expect(await codes.read(id)).toBe("493817");
    expect(await everything(redis, keys.prefix)).not.toContain("493817");
    const leftMs = await redis.pttl(keys.code(id));
    expect(leftMs).toBeGreaterThan(9.9 * 60_000);
    expect(leftMs).toBeLessThanOrEqual(10 * 60_000);
    await redis.pexpire(keys.code(id), 1);
    await expect.poll(() => codes.read(id)).toBeUndefined();
  });

  test("is replaced by the next one, which has its own ten minutes, and is forgotten", async () => {
    const { redis, keys, codes } = await startToy([]);
    const id = newId();
    await codes.keep(id, "111111");
    await redis.pexpire(keys.code(id), 5_000);
    await codes.keep(id, "222222");
    expect(await codes.read(id)).toBe("222222");
    expect(await redis.pttl(keys.code(id))).toBeGreaterThan(5_000);
    await codes.forget(id);
    expect([await codes.read(id), await redis.exists(keys.code(id))]).toEqual([undefined, 0]);
    await codes.forget(id);
  });

  test("of one request is none of another, and another master key opens none", async () => {
    const { redis, keys, codes } = await startToy([]);
    const [one, two] = [newId(), newId()];
    await codes.keep(one, "493817");
    await redis.copy(keys.code(one), keys.code(two));
    await expect(codes.read(two)).rejects.toMatchObject(UNREADABLE);
    await expect(createCodes({ redis, keys, masterKey: randomBytes(32) }).read(one)).rejects.toMatchObject(UNREADABLE);
  });
});
