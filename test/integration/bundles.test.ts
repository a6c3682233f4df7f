import { describe, expect, test, vi } from "vitest";
import { claimsIn } from "../../src/core/bundle.ts";
import { RetryableError } from "../../src/core/errors.ts";
import { backTo } from "../../src/core/outcome.ts";
import type { StoredDocument } from "../../src/core/request.ts";
import type { Bundling, Submission } from "../../src/queues/pipeline-types.ts";
import { newId, startToy, submission, toyStage, waitFor } from "../helpers/toy.ts";

type Toy = Awaited<ReturnType<typeof startToy>>;

const ORDER = ["create", "identify", "approve", "upload", "contract", "otp", "sign", "fetch", "cleanup"];
const later = () => waitFor("identification", { whose: "signer", within: "1h", poll: () => 3_600_000 });

/** Stops at the stages that are named. */
function stages(stopAt: string[] = []) {
  return ORDER.map((name) => toyStage(name, () => Promise.resolve(stopAt.includes(name) ? later() : {})));
}

function file(id = newId(), more: Partial<Submission> = {}): Submission {
  return { ...submission(id), source: "inbox", by: "inbox", refuseDuplicate: true, ...more };
}

/** What a claim remembers. */
function memory(joined?: string) {
  const said: (string | undefined)[] = [];
  const bundling: Bundling = {
    windowMs: 60_000,
    most: 10,
    joined,
    joining: (id) => Promise.resolve(void said.push(id)),
  };
  return { said, bundling };
}

async function hand(toy: Toy, one: Submission, more: Partial<Bundling> = {}) {
  const submitted = await toy.pipeline.bundle(one, { ...memory().bundling, ...more });
  return submitted.outcome === "duplicate"
    ? { outcome: "duplicate", id: submitted.of.id }
    : { outcome: submitted.outcome, id: submitted.request.id };
}

const namesOf = async (toy: Toy, id: string) =>
  ((await toy.store.get(id)).facts["documents"] as StoredDocument[]).map(({ name }) => name);

describe("files for one signer", () => {
  test("become one request: the first begins it, the others join, and the history says who came when", async () => {
    const toy = await startToy(stages());
    const files = [file(), file(), file()];
    const outcomes = [];
    for (const one of files) outcomes.push(await hand(toy, one));
    const id = files[0]?.id ?? "";
    expect(outcomes).toEqual(files.map(() => ({ outcome: "accepted", id })));
    expect(claimsIn(await toy.store.get(id))).toEqual(files.map((one) => one.id));
    expect(await namesOf(toy, id)).toEqual(["lease.pdf", "lease (2).pdf", "lease (3).pdf"]);
    expect((await toy.store.history(id)).map(({ note, by }) => [note, by])).toEqual([
      ["submitted", "inbox"],
      ["document 2 joined", "inbox"],
      ["document 3 joined", "inbox"],
    ]);
    const durable = toy.journal.filter(({ note, isDurable }) => note?.endsWith("joined") && isDurable);
    expect(durable).toHaveLength(2);
    for (const one of files.slice(1)) expect(await toy.store.read(one.id)).toBeUndefined();
  });

  test("all at once are as few requests as can take them: thirteen are ten and three", async () => {
    const toy = await startToy(stages());
    const files = Array.from({ length: 13 }, () => file());
    const placed = await Promise.all(files.map((one) => hand(toy, one)));
    const sizes = new Map<string, number>();
    for (const { id } of placed) sizes.set(id, (sizes.get(id) ?? 0) + 1);
    expect([...sizes.values()].sort((a, b) => b - a)).toEqual([10, 3]);
    for (const [id, size] of sizes) expect(await namesOf(toy, id)).toHaveLength(size);
  });

  test("of two folders that say the same are kept apart all the same: whoever has the one may not have the other", async () => {
    const toy = await startToy(stages());
    const files = [file(), file(), file(), file()];
    const outcomes = [];
    for (const [i, one] of files.entries())
      outcomes.push(await hand(toy, one, { apart: i % 2 === 0 ? "hr" : "legal" }));
    expect(outcomes.map(({ id }) => id)).toEqual([0, 1, 0, 1].map((i) => files[i]?.id));
  });

  test.each<[string, Partial<Submission>]>([
    ["another signer", { signer: { email: "bo@example.com", mobile_phone_number: "+34699999999" } }],
    ["another phone", { signer: { email: "ana@example.com", mobile_phone_number: "+34611111111" } }],
    ["another tenant", { tenant: "second" }],
    ["another inbox", { inbox: "loans" }],
    ["another profile", { profile: "other" }],
    ["another reference", { reference: "loan-9" }],
    ["another authentication", { authentication: { method: "sms", delivery_method: "whatsapp" } }],
    ["a signature apart", { signature: { format: "cms" } }],
    ["approval by itself", { approval: "auto" }],
    ["another address to be told at", { callback_url: "https://crm.example/hook" }],
  ])("are apart when they differ: %s", async (_, more) => {
    const toy = await startToy(stages());
    const [one, other] = [file(), file(newId(), more)];
    await hand(toy, one);
    expect(await hand(toy, other)).toEqual({ outcome: "accepted", id: other.id });
  });

  test("are one whatever way the address of the signer is written", async () => {
    const toy = await startToy(stages());
    const one = file();
    await hand(toy, one);
    const other = file(newId(), { signer: { mobile_phone_number: "+34699999999", email: "ANA@example.com" } });
    expect((await hand(toy, other)).id).toBe(one.id);
  });

  test("join until the code leaves, and what is at the provider is sent again with them", async () => {
    const stopAt = ["otp"];
    const uploads: number[] = [];
    const toy = await startToy([
      ...ORDER.slice(0, 3).map((name) => toyStage(name)),
      toyStage("upload", ({ request: { facts } }) => {
        uploads.push((facts["documents"] as unknown[]).length);
        return Promise.resolve({ uploaded: facts["documents"] });
      }),
      toyStage("contract", () => Promise.resolve({ contract: { name: "contract.pdf" } })),
      toyStage("otp", () => Promise.resolve(stopAt.includes("otp") ? later() : { otp: { sentMs: 1, count: 1 } })),
      toyStage("sign", () => Promise.resolve(later())),
      toyStage("cleanup"),
    ]);
    toy.work();
    const [one, two, three] = [file(), file(), file()];
    await hand(toy, one);
    await toy.reaches(one.id, "otp", "waiting");
    expect((await hand(toy, two)).id).toBe(one.id);
    await expect.poll(() => uploads, { timeout: 5_000 }).toEqual([1, 2]);
    await toy.reaches(one.id, "otp", "waiting");
    stopAt.pop();
    await toy.store.nudge(one.id); // its job may not be parked yet
    await toy.queues.promote("otp", one.id);
    await toy.reaches(one.id, "sign", "waiting");
    expect(await hand(toy, three)).toEqual({ outcome: "accepted", id: three.id });
    await expect.poll(() => uploads, { timeout: 5_000 }).toEqual([1, 2, 1]);
  });

  test("leave the request with a job when it is back at a stage before the job that it had there is over", async () => {
    let finish = () => {};
    const left = new Promise<void>((resolve) => (finish = resolve));
    let uploads = 0;
    const toy = await startToy([
      ...ORDER.slice(0, 3).map((name) => toyStage(name)),
      toyStage("upload", async ({ request: { facts } }) => {
        uploads += 1;
        if (uploads === 2) await left;
        return { uploaded: facts["documents"] };
      }),
      toyStage("contract", () => Promise.resolve(uploads === 1 ? later() : {})),
      toyStage("otp", () => Promise.resolve(later())),
      ...ORDER.slice(6).map((name) => toyStage(name)),
    ]);
    toy.work();
    const [one, two] = [file(), file()];
    await hand(toy, one);
    await toy.reaches(one.id, "contract", "waiting");
    const begin = toy.store.begin.bind(toy.store);
    const isOld = vi.spyOn(toy.store, "begin").mockImplementation(async (id, stage, withinMs) => {
      if (stage !== "contract") return await begin(id, stage, withinMs);
      isOld.mockImplementation(begin);
      await expect.poll(() => uploads).toBe(2);
      const found = await begin(id, stage, withinMs);
      finish();
      await toy.reaches(one.id, "contract", "queued");
      await new Promise((resolve) => setTimeout(resolve, 50)); // its job was added by now, beside this one
      return found;
    });
    await hand(toy, two);
    await toy.reaches(one.id, "otp", "waiting", 5_000);
    expect((await toy.store.get(one.id)).facts["uploaded"]).toHaveLength(2);
  });

  test("leave the request with a job when they join while the one that it has is about to be parked", async () => {
    let uploads = 0;
    const toy = await startToy([
      ...ORDER.slice(0, 3).map((name) => toyStage(name)),
      toyStage("upload", ({ request: { facts } }) => {
        uploads += 1;
        return Promise.resolve({ uploaded: facts["documents"] });
      }),
      toyStage("contract", () => Promise.resolve(uploads === 1 ? later() : {})),
      ...ORDER.slice(5).map((name) => toyStage(name, () => Promise.resolve(later()))),
    ]);
    const [one, two] = [file(), file()];
    const write = toy.store.write.bind(toy.store);
    const waits = vi.spyOn(toy.store, "write").mockImplementation(async (held, change) => {
      const written = await write(held, change);
      if (change.event !== "wait") return written;
      waits.mockImplementation(write);
      await hand(toy, two);
      await toy.reaches(one.id, "contract", "queued");
      await new Promise((resolve) => setTimeout(resolve, 50)); // its job was added by now, beside this one
      return written;
    });
    await hand(toy, one);
    toy.work();
    await toy.reaches(one.id, "otp", "waiting", 5_000);
    expect((await toy.store.get(one.id)).facts["uploaded"]).toHaveLength(2);
  });

  test("leave the request with a job when they join before the upload that it comes from is over", async () => {
    let uploads = 0;
    const toy = await startToy([
      ...ORDER.slice(0, 3).map((name) => toyStage(name)),
      toyStage("upload", ({ request: { facts } }) => {
        uploads += 1;
        return Promise.resolve({ uploaded: facts["documents"] });
      }),
      ...ORDER.slice(4).map((name) => toyStage(name, () => Promise.resolve(later()))),
    ]);
    const [one, two] = [file(), file()];
    const add = toy.queues.add.bind(toy.queues);
    const handedOn = vi.spyOn(toy.queues, "add").mockImplementation(async (stage, id, addedMs) => {
      await add(stage, id, addedMs);
      if (stage !== "contract") return;
      handedOn.mockImplementation(add);
      await toy.reaches(one.id, "contract", "waiting");
      await hand(toy, two); // the job of the upload is still there, and in the way of the next
      await expect.poll(() => toy.queues.stateOf("contract", one.id)).toBe("unknown");
    });
    await hand(toy, one);
    toy.work();
    await expect.poll(() => uploads, { timeout: 5_000 }).toBe(2);
    await toy.reaches(one.id, "contract", "waiting");
    expect((await toy.store.get(one.id)).facts["uploaded"]).toHaveLength(2);
  });

  test("wait while the documents that are there are on their way, and nothing of them is marked", async () => {
    let finish = () => {};
    const left = new Promise<void>((resolve) => (finish = resolve));
    const toy = await startToy([
      ...ORDER.slice(0, 3).map((name) => toyStage(name)),
      toyStage("upload", async ({ request: { facts }, effect }) => {
        await effect("upload", () => left);
        return { uploaded: facts["documents"] };
      }),
      toyStage("contract", () => Promise.resolve(later())),
      ...ORDER.slice(5).map((name) => toyStage(name)),
    ]);
    toy.work();
    const [one, two] = [file(), file()];
    await hand(toy, one);
    await expect.poll(async () => (await toy.store.get(one.id)).intent?.effect, { timeout: 5_000 }).toBe("upload");
    const { bundling, said } = memory();
    await expect(toy.pipeline.bundle(two, bundling)).rejects.toMatchObject({ code: "bundle-busy" });
    expect(said).toEqual([one.id]);
    expect(await namesOf(toy, one.id)).toHaveLength(1);
    finish();
    await toy.reaches(one.id, "contract", "waiting");
    expect((await hand(toy, two, { joined: one.id })).id).toBe(one.id);
    expect(await namesOf(toy, one.id)).toHaveLength(2);
  });

  test("handed in again after a crash are in it once, whatever the claim remembers", async () => {
    const toy = await startToy(stages());
    const [one, two] = [file(), file()];
    await hand(toy, one);
    await hand(toy, two);
    expect(await hand(toy, two, { joined: one.id })).toEqual({ outcome: "known", id: one.id });
    expect(await hand(toy, two)).toEqual({ outcome: "known", id: one.id });
    expect(await hand(toy, one)).toEqual({ outcome: "known", id: one.id });
    // The key that tells which request is open is lost as well: what looks like a duplicate is the document itself.
    const lost = await toy.redis.keys(`${toy.keys.prefix.replaceAll(/[{}]/g, "[$&]")}:bundle:*`);
    await toy.redis.del(lost);
    const { bundling, said } = memory();
    expect(await toy.pipeline.bundle(two, bundling)).toMatchObject({ outcome: "known", request: { id: one.id } });
    expect(said.at(-1)).toBe(one.id);
    expect(await namesOf(toy, one.id)).toHaveLength(2);
  });

  test("that are the same are signed once: in the same request, in another one, and next to a request of its own", async () => {
    const toy = await startToy(stages());
    const one = file();
    const twin = (more: Partial<Submission> = {}) => {
      const id = newId();
      const [document] = one.documents;
      return file(id, { documents: [{ ...(document as StoredDocument), id: `${id}/1.pdf` }], ...more });
    };
    await hand(toy, one);
    await hand(toy, file());
    expect(await hand(toy, twin())).toEqual({ outcome: "duplicate", id: one.id });
    expect(await hand(toy, twin({ reference: "loan-9" }))).toEqual({ outcome: "duplicate", id: one.id });
    expect(await toy.pipeline.submit(twin())).toMatchObject({ outcome: "duplicate", of: { id: one.id } });
    expect(await namesOf(toy, one.id)).toHaveLength(2);
    // Whoever accepts duplicates has it signed twice.
    expect((await hand(toy, twin({ refuseDuplicate: false }))).id).toBe(one.id);
    expect(await namesOf(toy, one.id)).toHaveLength(3);
  });

  test.each([
    ["is over", "cleanup", "cancelled", {}],
    ["is closed, and duplicates are accepted", "sign", "waiting", { refuseDuplicate: false }],
  ] as const)(
    "whose claim has forgotten that they joined are still of their request when that %s",
    async (_, stage, phase, more) => {
      const toy = await startToy(stages(phase === "waiting" ? [stage] : []));
      const [one, two] = [file(), file(newId(), more)];
      await hand(toy, one);
      await hand(toy, two);
      if (phase === "cancelled") await toy.pipeline.cancel(one.id, "api:test");
      toy.work();
      await toy.reaches(one.id, stage, phase);
      const three = file();
      expect((await hand(toy, three)).id).toBe(three.id); // which is the one that is open now
      const { bundling, said } = memory();
      expect(await toy.pipeline.bundle(two, bundling)).toMatchObject({ outcome: "known", request: { id: one.id } });
      expect(said).toEqual([one.id]);
      expect(await namesOf(toy, three.id)).toHaveLength(1);
    },
  );

  test("that are the same are signed once, also when a crash came before that was known and the request has closed since", async () => {
    const toy = await startToy(stages());
    const one = file();
    await hand(toy, one);
    const id = newId();
    const twin = file(id, { documents: [{ ...(one.documents[0] as StoredDocument), id: `${id}/1.pdf` }] });
    // The crash came after the claim had written down which request it is about to join, and before it tried to.
    await toy.store.change(one.id, () => ({
      event: "note",
      patch: { facts: { otp: { sentMs: 1, count: 1 } } },
      by: "x",
    }));
    expect(await hand(toy, twin, { joined: one.id })).toEqual({ outcome: "duplicate", id: one.id });
    expect(await toy.store.read(id)).toBeUndefined();
  });

  test("do not join a request whose correction is under way, or was carried out at the very moment", async () => {
    const toy = await startToy(stages());
    const [one, two, three, four] = [file(), file(), file(), file()];
    const note = (id: string, facts: Record<string, unknown>) =>
      toy.store.change(id, () => ({ event: "note", patch: { facts }, by: "api:test" }));
    await hand(toy, one);
    await note(one.id, { order: { kind: "correction", atMs: 1, note: "correction-1", fields: ["email"] } });
    expect(await hand(toy, two)).toEqual({ outcome: "accepted", id: two.id });
    // Of one that begins its identification anew the signer stays who he is.
    await note(two.id, { order: { kind: "restart", atMs: 1 } });
    expect(await hand(toy, three)).toEqual({ outcome: "accepted", id: two.id });
    const joining = async (id: string | undefined) => {
      if (id !== two.id) return;
      await toy.vault.replaceSigner(id, { ...two.signer, email: "anna@example.com" });
      await note(id, { ordered: { kind: "correction", outcome: "taken", fields: ["email"], atMs: 2 } });
    };
    expect(await hand(toy, four, { joining })).toEqual({ outcome: "accepted", id: four.id });
    expect(await namesOf(toy, two.id)).toHaveLength(2);
  });

  test("whose first one is a duplicate begin with the second, at once", async () => {
    const toy = await startToy(stages());
    const before = file();
    await toy.pipeline.submit(before);
    const id = newId();
    const twin = file(id, { documents: [{ ...(before.documents[0] as StoredDocument), id: `${id}/1.pdf` }] });
    expect(await hand(toy, twin)).toEqual({ outcome: "duplicate", id: before.id });
    const next = file();
    const startedMs = performance.now();
    expect(await hand(toy, next)).toEqual({ outcome: "accepted", id: next.id });
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  });

  test("do not join a request whose signer was corrected, or who is not known any more", async () => {
    const toy = await startToy(stages());
    const [one, two, three] = [file(), file(), file()];
    await hand(toy, one);
    await toy.vault.replaceSigner(one.id, { ...one.signer, mobile_phone_number: "+34611111111" });
    expect(await hand(toy, two)).toEqual({ outcome: "accepted", id: two.id });
    await toy.vault.erase(two.id);
    expect(await hand(toy, three)).toEqual({ outcome: "accepted", id: three.id });
  });

  test("do not join what is over; what was given up after its name was known is begun by another", async () => {
    const toy = await startToy(stages());
    const [one, two, three] = [file(), file(), file()];
    await hand(toy, one);
    await toy.pipeline.cancel(one.id, "api:test");
    expect(await hand(toy, two)).toEqual({ outcome: "accepted", id: two.id });
    // The process died between the name and the record, a while ago.
    const [key = ""] = await toy.redis.keys(`${toy.keys.prefix.replaceAll(/[{}]/g, "[$&]")}:bundle:*`);
    await toy.redis.set(key, newId(), "PX", 1_000_000);
    expect(await hand(toy, three)).toEqual({ outcome: "accepted", id: three.id });
  });

  test("are one request although it closes at the very moment: the marks go along", async () => {
    const toy = await startToy(stages());
    const [one, two] = [file(), file()];
    await hand(toy, one);
    const change = toy.store.change.bind(toy.store);
    vi.spyOn(toy.store, "change").mockImplementationOnce(async (id, decide, prepare) => {
      await toy.pipeline.cancel(one.id, "api:test");
      return await change(id, decide, prepare);
    });
    const { bundling, said } = memory();
    expect(await toy.pipeline.bundle(two, bundling)).toMatchObject({ outcome: "accepted", request: { id: two.id } });
    expect(said).toEqual([one.id, undefined]);
    const id = newId();
    const twin = file(id, { documents: [{ ...(two.documents[0] as StoredDocument), id: `${id}/1.pdf` }] });
    expect(await hand(toy, twin)).toEqual({ outcome: "duplicate", id: two.id });
  });

  test("do not join from a Redis that has gone away meanwhile: it may have forgotten which there are", async () => {
    let epoch = 0;
    const toy = await startToy(stages(), { gate: { epoch: () => epoch } });
    const [one, two] = [file(), file()];
    await hand(toy, one);
    const joining = () => Promise.resolve(void (epoch += 1));
    await expect(hand(toy, two, { joining })).rejects.toMatchObject({ code: "redis-away" });
    expect(await namesOf(toy, one.id)).toHaveLength(1);
  });

  test("are not the corrected signer's when they join while a correction is written down: it is to be tried again", async () => {
    const toy = await startToy(stages());
    const [one, two] = [file(), file()];
    await hand(toy, one);
    await toy.store.change(one.id, () => ({ event: "note", patch: { facts: { requestPk: 1, videoidPk: 2 } } }));
    await toy.store.change(one.id, () => ({ event: "requeue", to: "identify" }));
    const keepNote = toy.vault.keepNote.bind(toy.vault);
    vi.spyOn(toy.vault, "keepNote").mockImplementationOnce(async (...note) => {
      await keepNote(...note);
      await hand(toy, two);
    });
    const correction = { mobile_phone_number: "+34611111111" };
    await expect(toy.pipeline.correct(one.id, correction, "api:test")).rejects.toMatchObject({ code: "contended" });
    expect((await toy.store.get(one.id)).facts["order"]).toBeUndefined();
    expect((await toy.pipeline.correct(one.id, correction, "api:test")).facts["order"]).toBeDefined();
    const id = newId();
    const signer = { ...one.signer, ...correction };
    const twin = file(id, { signer, documents: [{ ...(two.documents[0] as StoredDocument), id: `${id}/1.pdf` }] });
    expect(await hand(toy, twin)).toEqual({ outcome: "duplicate", id: one.id });
  });

  test("that come while the contract is to be tried again are sent before the code, and an old look at the documents does not count", async () => {
    let isAway = true;
    let looks = 0;
    let goOn = () => {};
    const looked = new Promise<void>((resolve) => (goOn = resolve));
    const uploads: number[] = [];
    const isWhole = (facts: Record<string, unknown>) =>
      (facts["documents"] as unknown[]).length === (facts["uploaded"] as unknown[]).length;
    const toy = await startToy([
      ...ORDER.slice(0, 3).map((name) => toyStage(name)),
      toyStage("upload", ({ request: { facts } }) => {
        uploads.push((facts["documents"] as unknown[]).length);
        return Promise.resolve({ uploaded: facts["documents"] });
      }),
      toyStage(
        "contract",
        () => (isAway ? Promise.reject(new RetryableError("away", { code: "provider-away" })) : Promise.resolve({})),
        { attempts: 1_000, backoff: () => 300 },
      ),
      // With an external authentication there is no code: the stage is over once it has looked.
      toyStage("otp", async ({ request: { facts } }) => {
        if (!isWhole(facts)) return backTo("upload", { code: "documents-joined", message: "not whole" });
        looks += 1;
        if (looks === 1) await looked;
        return {};
      }),
      toyStage("sign", () => Promise.resolve(later())),
      toyStage("cleanup"),
    ]);
    toy.work();
    const [one, two, three] = [file(), file(), file()];
    await hand(toy, one);
    await toy.reaches(one.id, "contract", "retrying");
    expect((await hand(toy, two)).id).toBe(one.id);
    isAway = false;
    await expect.poll(() => looks, { timeout: 10_000 }).toBe(1);
    expect(uploads).toEqual([1, 2]);
    // It joins while the stage that looked has not written that it is over.
    await toy.store.change(one.id, (fresh) => ({
      event: "note",
      patch: { facts: { documents: [...(fresh.facts["documents"] as StoredDocument[]), ...three.documents] } },
    }));
    goOn();
    await toy.reaches(one.id, "sign", "waiting");
    expect(uploads).toEqual([1, 2, 3]);
  });
});
