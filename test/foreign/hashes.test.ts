import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { type House } from "../helpers/house.ts";
import { readHashFile } from "./hashes.ts";
import { pdf, type Seen, setUp } from "./house.ts";
import { apartFault } from "./judges.ts";
import { PROVIDERS, SEED } from "./readings.ts";
import { type Provider } from "./server.ts";
import { type Authority, createAuthority } from "./signing.ts";

const WITHIN_MS = 40_000;
const SIGNER = { email: "hash@example.com", mobile_phone_number: "+34699000111" };
const PLAN = Buffer.from("a drawing of any kind\0\r\n");
const LETTER = Buffer.from("what is not handed in");
/** As a program of somebody else writes it. */
const hashFileOf = (content: Buffer): Buffer =>
  Buffer.from(
    JSON.stringify({
      messageDigest: Buffer.concat([
        Buffer.from("302f06092a864886f70d01090431220420", "hex"),
        createHash("sha256").update(content).digest(),
      ]).toString("base64"),
      digestAlgorithm: "sha256WithRSAEncryption",
      addAuthAttribute: 1,
      addSigningTime: 1,
      otherAuthAttributes: [],
    }),
  );

let authority: Authority;
beforeAll(() => {
  authority = createAuthority();
});
afterAll(() => authority.close());

test("the contract's own hash file is read as the digest of what it is of, and nothing else is read as one", () => {
  const sample = {
    messageDigest: "MC8GCSqGSIb3DQEJBDEiBCC6eBa/jwHP6kFBQN5driIjsANho5YXepy0EP9h8gAVrQ==",
    digestAlgorithm: "sha256WithRSAEncryption",
    addAuthAttribute: 1,
    addSigningTime: 1,
    otherAuthAttributes: [],
  };
  const read = (change: object) => readHashFile(Buffer.from(JSON.stringify({ ...sample, ...change })));
  expect(read({})?.digest).toEqual(createHash("sha256").update("abc").digest());
  const bare = createHash("sha256").update("abc").digest("base64");
  for (const change of [{ messageDigest: bare }, { digestAlgorithm: "md5" }, { otherAuthAttributes: "none" }])
    expect(read(change)).toBeUndefined();
  expect(readHashFile(Buffer.from("%PDF-1.7"))).toBeUndefined();
});

/** The signer, the officer and the phone, until the request has ended. */
async function play(house: House, provider: Provider, id: string): Promise<Seen> {
  for (const late = Date.now() + WITHIN_MS; Date.now() < late; await pause(40)) {
    const seen = (await house.call("GET", `/v1/requests/${id}`)).body as unknown as Seen;
    if (["done", "failed", "refused", "cancelled", "expired"].includes(seen.state)) return seen;
    const waits = seen.waiting?.for;
    const link = seen.videoid_link;
    if (waits === "identification" && link !== undefined) provider.identify(link);
    if (waits === "approval" && link !== undefined && !provider.identify(link))
      await house.call("POST", `/v1/requests/${id}/approve`);
    if (waits === "code")
      await house.call("POST", `/v1/requests/${id}/code`, { secret: provider.codeOf(seen.request_pk ?? 0) });
  }
  throw new Error(JSON.stringify((await house.call("GET", `/v1/requests/${id}/history`)).body));
}

for (const [name, readings] of Object.entries(PROVIDERS)) {
  test(`hashes are signed apart by a provider that somebody else wrote: ${name}`, async () => {
    const { house, provider, witness } = await setUp(authority, readings, { atEnd: onTestFinished });
    const id = await house.submit({ signer: SIGNER, signature: { format: "cms" } }, [
      { name: "plan.dwg", bytes: PLAN },
      { name: "letter.txt.hash.json", bytes: hashFileOf(LETTER) },
      { name: "lease.pdf", bytes: await pdf() },
    ]);
    const seen = await play(house, provider, id);
    expect(seen).toMatchObject({ state: "done" });

    const ledger = provider.ledger.filter(({ requestPk }) => requestPk === seen.request_pk);
    const count = (effect: string) => ledger.filter((entry) => entry.effect === effect).length;
    expect([count("create"), count("upload"), count("otp"), count("sign"), count("delete")]).toEqual([1, 3, 1, 1, 3]);
    expect(count("approve")).toBe({ ...SEED, ...readings }.operatorApproves ? 0 : 1);
    expect(provider.heldDocuments()).toBe(0);
    expect(witness.lost()).toEqual([]);
    expect(witness.seen()).toBe(3);

    const signed = (file: string) => join(house.dataDir, "signed", id, file);
    const contents = { "plan.dwg.p7m": PLAN, "letter.txt.p7m": LETTER };
    for (const [file, content] of Object.entries(contents)) {
      const beside = join(house.dataDir, "content");
      writeFileSync(beside, content);
      expect(await apartFault(signed(file), beside), file).toBeUndefined();
      writeFileSync(beside, "something else");
      expect(await apartFault(signed(file), beside), file).toMatch(/verification failure/);
    }
    expect((await readFile(signed("lease.pdf.p7m"))).subarray(0, 1).toString("hex")).toBe("30");
  });
}
