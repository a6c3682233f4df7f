import fc from "fast-check";
import { setTimeout as pause } from "node:timers/promises";
import { expect, test } from "vitest";
import { backTo } from "../../src/core/outcome.ts";
import { isFailure } from "../../src/core/errors.ts";
import type { StoredDocument } from "../../src/core/request.ts";
import { SEED } from "../helpers/property.ts";
import { newId, startToy, submission, toyStage } from "../helpers/toy.ts";

interface Arrival {
  /** When it is dropped, in milliseconds. */
  atMs: number;
  /** How often it is handed in, as after crashes; all at once, or one after the other. */
  times: number;
  atOnce: boolean;
  /** Whether the claim forgets what it was about to join. */
  forgets: boolean;
}

const arrival: fc.Arbitrary<Arrival> = fc.record({
  atMs: fc.integer({ min: 0, max: 250 }),
  times: fc.integer({ min: 1, max: 3 }),
  atOnce: fc.boolean(),
  forgets: fc.boolean(),
});
const world = fc.record({
  arrivals: fc.array(arrival, { minLength: 1, maxLength: 24 }),
  windowMs: fc.constantFrom(0, 40, 150),
  /** How long each stage takes. */
  paceMs: fc.constantFrom(0, 5, 20),
});

interface Signed {
  facts: { documents: StoredDocument[]; uploaded: StoredDocument[]; signed?: string[] };
  phase: string;
}

/**
 * The promise of a bundle: whatever the order in which files come, whenever the code goes out, and however often a file is
 * handed in again, each is signed exactly once, with all that were uploaded with it, and no request has more than ten.
 */
test("each file is signed exactly once, whenever it comes and whenever the code leaves", async () => {
  await fc.assert(
    fc.asyncProperty(world, async ({ arrivals, windowMs, paceMs }) => {
      /** What the provider has, and what it has signed, by request. */
      const there = new Map<string, string[]>();
      const signed = new Map<string, string[][]>();
      const codes = new Map<string, number>();
      const idsOf = (facts: Record<string, unknown>, name: string) =>
        ((facts[name] ?? []) as StoredDocument[]).map(({ id }) => id);
      const stage = (name: string, run: Parameters<typeof toyStage>[1]) => toyStage(name, run, { attempts: 100 });
      const toy = await startToy([
        stage("create", async () => (await pause(paceMs), {})),
        stage("identify", async () => (await pause(paceMs), {})),
        stage("upload", async ({ requestId, request: { facts }, effect }) => {
          await effect("upload", async () => {
            await pause(paceMs);
            there.set(requestId, idsOf(facts, "documents"));
          });
          return { uploaded: facts["documents"] };
        }),
        stage("contract", async () => (await pause(paceMs), {})),
        stage("otp", async ({ requestId, request: { facts }, effect }) => {
          const isWhole = idsOf(facts, "documents").join() === idsOf(facts, "uploaded").join();
          if (!isWhole) return backTo("upload", { code: "documents-joined", message: "not whole" });
          await pause(paceMs);
          await effect("otp", async () => {
            await pause(paceMs);
            codes.set(requestId, (codes.get(requestId) ?? 0) + 1);
          });
          return { otp: { sentMs: 1, count: 1 } };
        }),
        stage("sign", async ({ requestId, effect }) => {
          await effect("sign", async () => {
            signed.set(requestId, [...(signed.get(requestId) ?? []), there.get(requestId) ?? []]);
          });
          return {};
        }),
        stage("cleanup", () => Promise.resolve({})),
      ]);
      toy.work();
      const requests = new Set<string>();

      async function handIn(id: string, { forgets }: Arrival): Promise<void> {
        let joined: string | undefined;
        for (;;) {
          try {
            const submitted = await toy.pipeline.bundle(
              { ...submission(id), source: "inbox", by: "inbox", refuseDuplicate: true },
              {
                windowMs,
                most: 10,
                joined,
                joining: (to) => Promise.resolve(void (joined = forgets ? undefined : to)),
              },
            );
            if (submitted.outcome === "duplicate") throw new Error("a file is no duplicate of itself");
            return void requests.add(submitted.request.id);
          } catch (error) {
            if (!isFailure(error, "bundle-busy", "contended")) throw error;
            await pause(5);
          }
        }
      }

      const ids = arrivals.map(() => newId());
      await Promise.all(
        arrivals.map(async (one, i) => {
          const id = ids[i] ?? "";
          await pause(one.atMs);
          const tries = Array.from({ length: one.times }, () => () => handIn(id, one));
          if (one.atOnce) await Promise.all(tries.map((again) => again()));
          else for (const again of tries) await again();
        }),
      );
      for (const id of requests) await toy.reaches(id, "cleanup", "done", 20_000);

      const all = [...signed.values()].flatMap((times) => times.flat());
      expect(all.toSorted()).toEqual(ids.map((id) => `${id}/1.pdf`).toSorted());
      for (const id of requests) {
        const { facts } = (await toy.store.get(id)) as unknown as Signed;
        expect(signed.get(id)).toEqual([facts.documents.map((one) => one.id)]);
        expect(facts.documents.length).toBeLessThanOrEqual(10);
        expect(codes.get(id)).toBe(1);
      }
    }),
    { seed: SEED, numRuns: 12 },
  );
});
