import fc from "fast-check";
import type { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { SEED } from "../helpers/property.ts";
import { startPaperPipeline } from "./paper-pipeline.ts";
import {
  type Asked,
  cancel,
  checkAll,
  comeToAnEnd,
  correct,
  decide,
  effectsOf,
  giveCode,
  goOn,
  pkOf,
  type Pipe,
  resend,
  restart,
  submit,
} from "./people.ts";
import { createTurns } from "./turns.ts";

const RUNS = 6;

/** Has an honest person go on until the request waits for `what`. */
async function bring(one: Asked, pipe: Pipe, what: string): Promise<void> {
  for (let i = 0; i < 10; i++) {
    await pipe.settle();
    if ((await pipe.store.get(one.id)).waiting?.for === what) return;
    await goOn(one, pipe);
  }
  throw new Error(`it does not come to wait for ${what}: ${JSON.stringify(await pipe.store.get(one.id))}`);
}

type Party = (one: Asked, pipe: Pipe) => Promise<void>;
const webhook: Party = async (one, pipe) => void (await pipe.pipeline.nudge((await pkOf(pipe, one.id)) ?? 0));
const rightCode: Party = async (one, pipe) => void (await giveCode(one, pipe, true));
const sweep: Party = async (_, pipe) => void (await pipe.reconciler.sweep());

/** Requests whose right code was taken, after a wrong one. */
const accepted = new Set<string>();

const MEETINGS: { name: string; at: string; parties: Party[]; then?: Party }[] = [
  {
    name: "approval, refusal, cancellation and a webhook",
    at: "approval",
    parties: [(one, pipe) => decide(one, pipe, "approve"), (one, pipe) => decide(one, pipe, "refuse"), cancel, webhook],
  },
  {
    name: "two approvals and a webhook",
    at: "approval",
    parties: [(one, pipe) => decide(one, pipe, "approve"), (one, pipe) => decide(one, pipe, "approve"), webhook],
  },
  {
    name: "a new beginning, an approval and a webhook",
    at: "approval",
    parties: [restart, (one, pipe) => decide(one, pipe, "approve"), webhook],
    then: async (one, pipe) => {
      // One of the two was taken, and is what happened.
      const [approved, cancelled] = ["approve", "cancel"].map((effect) => effectsOf(pipe, one.id, effect).length);
      expect([approved, cancelled]).toEqual(one.restarts > 0 ? [0, 1] : [1, 0]);
    },
  },
  {
    name: "a correction, a new beginning, the identification and its webhook",
    at: "identification",
    parties: [
      correct,
      restart,
      async (one, pipe) => {
        pipe.paper.identify((await pkOf(pipe, one.id)) ?? 0);
        await webhook(one, pipe);
      },
    ],
  },
  {
    name: "two corrections and an approval",
    at: "approval",
    parties: [correct, correct, (one, pipe) => decide(one, pipe, "approve")],
  },
  {
    name: "the code, a new code and a cancellation",
    at: "code",
    parties: [rightCode, resend, cancel],
  },
  {
    name: "a cancellation, and a signing that comes through unheard",
    at: "code",
    parties: [
      cancel,
      async (one, pipe) => {
        for (let i = 0; i < 8; i++) await pipe.store.read(one.id);
        pipe.paper.signLate((await pkOf(pipe, one.id)) ?? 0);
      },
    ],
    // Whatever comes first: it is done and signed, or cancelled and not.
    then: async (one, pipe) => {
      const { phase, facts } = await pipe.store.get(one.id);
      const isSigned = pipe.paper.statusOf((await pkOf(pipe, one.id)) ?? 0) === "ISSUED";
      expect([phase, facts["signedDespite"] !== undefined]).toEqual([isSigned ? "done" : "cancelled", isSigned]);
    },
  },
  {
    name: "the code, a webhook and the reconciler",
    at: "code",
    parties: [rightCode, webhook, sweep],
    // Nobody took it back: without any time passing it must be signed.
    then: async (one, pipe) => expect(effectsOf(pipe, one.id, "sign")).toHaveLength(1),
  },
  {
    name: "a wrong code, and the right one while the wrong one is being tried",
    at: "code",
    parties: [
      async (one, pipe) => {
        await giveCode(one, pipe, false);
        for (let tries = 0; tries < 3 && !accepted.has(one.id); tries++) {
          if (await giveCode(one, pipe, true)) accepted.add(one.id);
        }
      },
    ],
    then: async (one, pipe) => {
      if (accepted.has(one.id)) expect(effectsOf(pipe, one.id, "sign")).toHaveLength(1);
    },
  },
  {
    name: "the identification, two webhooks and a look that is just being parked",
    at: "identification",
    parties: [
      webhook,
      async (one, pipe) => {
        pipe.paper.identify((await pkOf(pipe, one.id)) ?? 0);
        await webhook(one, pipe);
      },
    ],
    then: async (one, pipe) => expect((await pipe.store.get(one.id)).waiting?.for).toBe("approval"),
  },
  {
    name: "an approval that goes on to the code, and a cancellation at any point of the way",
    at: "approval",
    parties: [
      async (one, pipe) => {
        await decide(one, pipe, "approve");
        // The worker's commands are among those that wait for their turn.
        await expect
          .poll(async () => (await pipe.plain.get(pipe.keys.request(one.id)))?.split("|", 3)[2], {
            timeout: 3_000,
            interval: 5,
          })
          .not.toBe("queued");
      },
      async (one, pipe) => {
        for (let i = 0; i < 15; i++) await pipe.store.read(one.id);
        await cancel(one, pipe);
      },
    ],
  },
];

describe("at every order of their commands", () => {
  test.each(MEETINGS)(
    "$name do at most what was asked, and the request comes to an end",
    async ({ at, parties, then }) => {
      const turns = createTurns();
      const pipe = await startPaperPipeline({ wrap: turns.wrap });
      const crew = pipe.crew({ wrap: turns.wrap });
      await fc.assert(
        fc.asyncProperty(fc.array(fc.nat(11), { minLength: 60, maxLength: 60 }), async (order) => {
          const one = await submit(pipe);
          await bring(one, pipe, at);
          let next = 0;
          await turns.take(
            parties.map((party) => () => party(one, pipe)),
            (of) => (order[next++ % order.length] ?? 0) % of,
          );
          await pipe.settle();
          await checkAll([one], pipe, true);
          await then?.(one, pipe);
          await comeToAnEnd([one], pipe);
        }),
        { numRuns: RUNS, seed: SEED, endOnFailure: true },
      );
      await crew.stop();
    },
  );
});

const HELD = (["create", "approve", "upload", "otp", "sign"] as const).flatMap((effect) => [
  { effect, isDone: false, when: "has not done its work yet" },
  { effect, isDone: true, when: "has done its work" },
]);

describe("a worker that lost its job to another", () => {
  test.each(HELD)("while its call to $effect $when adds nothing to it", async ({ effect, isDone }) => {
    const pipe = await startPaperPipeline();
    pipe.crew();
    const release = pipe.paper.hold(effect, { isDone });
    const one = await submit(pipe);
    const isHeld = async () => {
      if (!pipe.paper.isHolding()) await goOn(one, pipe);
      return pipe.paper.isHolding();
    };
    await expect.poll(isHeld, { timeout: 10_000, interval: 20 }).toBe(true);

    pipe.crew();
    await pipe.loseLocks();
    const before = (await pipe.store.get(one.id)).mark;
    await expect
      .poll(async () => (await pipe.store.get(one.id)).mark !== before, { timeout: 10_000, interval: 10 })
      .toBe(true);
    release();
    await pipe.settle();
    await checkAll([one], pipe, true);
    await comeToAnEnd([one], pipe);
    expect(effectsOf(pipe, one.id, effect)).toHaveLength(1);
  });
});

/** A request that waits for its approval, with a look under way that has its answer and is not told it yet. */
async function startLook(pipe: Pipe): Promise<{ one: Asked; release: () => void }> {
  pipe.crew();
  const one = await submit(pipe);
  await bring(one, pipe, "approval");
  const release = pipe.paper.hold("read", { isDone: true });
  await webhook(one, pipe);
  await expect.poll(pipe.paper.isHolding, { timeout: 5_000, interval: 5 }).toBe(true);
  return { one, release };
}

test("a decision that comes while an older look is under way is not lost when that look is parked", async () => {
  const pipe = await startPaperPipeline();
  const { one, release } = await startLook(pipe);
  await decide(one, pipe, "approve");
  release();
  // The next look of its own would come after half a minute.
  await expect.poll(() => effectsOf(pipe, one.id, "approve").length, { timeout: 10_000, interval: 10 }).toBe(1);
});

test("an order that comes while a look is under way which would go on without it is carried out all the same", async () => {
  const pipe = await startPaperPipeline();
  pipe.crew();
  const one = await submit(pipe);
  await bring(one, pipe, "approval");
  pipe.paper.approve((await pkOf(pipe, one.id)) ?? 0);
  const release = pipe.paper.hold("read", { isDone: true });
  await webhook(one, pipe);
  await expect.poll(pipe.paper.isHolding, { timeout: 5_000, interval: 5 }).toBe(true);
  await restart(one, pipe);
  expect(one.restarts).toBe(1);
  release();
  await expect.poll(() => effectsOf(pipe, one.id, "create").length, { timeout: 15_000, interval: 10 }).toBe(2);
  expect(effectsOf(pipe, one.id, "cancel")).toHaveLength(1);
  expect(effectsOf(pipe, one.id, "upload")).toHaveLength(0);
});

test("a worker that lost its job does not begin a call, even when nobody has taken the job over yet", async () => {
  const pipe = await startPaperPipeline();
  const { one, release } = await startLook(pipe);
  release();
  await pipe.settle();
  const releaseNext = pipe.paper.hold("read", { isDone: true });
  await decide(one, pipe, "approve");
  await expect.poll(pipe.paper.isHolding, { timeout: 5_000, interval: 5 }).toBe(true);
  await pipe.loseLocks();
  releaseNext();
  const lost = async () => (await pipe.store.history(one.id)).filter(({ note }) => note === "lost-lease").length;
  await expect.poll(lost, { timeout: 10_000, interval: 10 }).toBe(1);
  expect(effectsOf(pipe, one.id, "approve")).toEqual([]);
  await comeToAnEnd([one], pipe);
  expect(effectsOf(pipe, one.id, "approve")).toHaveLength(1);
});

test("a command whose answer was lost and that is sent again changes nothing twice, and is no failure", async () => {
  const pipe = await startPaperPipeline({ wrap: twice });
  pipe.crew({ wrap: twice });
  const one = await submit(pipe);
  await bring(one, pipe, "approval");
  await decide(one, pipe, "approve");
  expect(one.decided).toBe("approve");
  await bring(one, pipe, "code");
  await pipe.pass(70_000);
  await resend(one, pipe);
  expect(one.resends).toBe(1);
  await bring(one, pipe, "code");
  await giveCode(one, pipe, true);
  await pipe.settle();
  // Without any time passing: nothing had to be found by the reconciler.
  expect((await pipe.store.get(one.id)).phase).toBe("done");
  await checkAll([one], pipe, true);
  const other = await submit(pipe);
  await bring(other, pipe, "identification");
  await cancel(other, pipe);
  expect(other.cancelled).toBe(true);
  await pipe.settle();
  expect((await pipe.store.get(other.id)).phase).toBe("cancelled");
});

/** Sends every script twice, as ioredis does when the connection breaks before the answer; the second answer counts. */
function twice(redis: Redis): Redis {
  return new Proxy(redis, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      if (!String(name).startsWith("signpipe")) return value.bind(target) as unknown;
      return async (...args: unknown[]) => {
        await (value.apply(target, args) as Promise<unknown>);
        return await (value.apply(target, args) as Promise<unknown>);
      };
    },
  });
}
