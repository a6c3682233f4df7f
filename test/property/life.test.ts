import fc from "fast-check";
import type { Socket } from "node:net";
import { test } from "vitest";
import { SEED } from "../helpers/property.ts";
import { startPaperPipeline } from "./paper-pipeline.ts";
import { FAULTS } from "./paper-provider.ts";
import {
  type Asked,
  cancel,
  checkAll,
  comeToAnEnd,
  correct,
  decide,
  giveCode,
  goOn,
  type Pipe,
  pkOf,
  resend,
  restart,
  retry,
  submit,
} from "./people.ts";

const RUNS = 16;
const COMMANDS = 24;
interface Model {
  asked: Asked[];
}
interface Real {
  pipe: Pipe;
  crew: ReturnType<Pipe["crew"]>;
}
type Command = fc.AsyncCommand<Model, Real>;

/** A command about the request that was submitted as the `which`th. */
function about(name: string, which: number, run: (one: Asked, real: Real) => Promise<void>): Command {
  return {
    check: ({ asked }) => asked.length > which,
    async run(model, real) {
      await run(model.asked[which] as Asked, real);
      await checkAll(model.asked, real.pipe, false);
    },
    toString: () => `${name}(${which})`,
  };
}

/** A command about the world. */
function world(name: string, run: (real: Real) => Promise<void>, atRest = false): Command {
  return {
    check: () => true,
    async run(model, real) {
      await run(real);
      await checkAll(model.asked, real.pipe, atRest);
    },
    toString: () => name,
  };
}

/** What befalls the first calls that change something, one after the other. */
const faults = fc.array(fc.oneof(fc.constant("none" as const), fc.constantFrom(...FAULTS)), {
  minLength: 5,
  maxLength: 5,
});

async function newCrew(real: Real): Promise<void> {
  real.crew = real.pipe.crew();
}

const which = fc.constantFrom(0, 0, 0, 1);
const step = which.map((i) =>
  about("goOn", i, async (one, real) => {
    await real.pipe.settle();
    await goOn(one, real.pipe);
  }),
);
const commands: fc.Arbitrary<Command>[] = [
  fc.constant<Command>({
    check: ({ asked }) => asked.length < 2,
    async run(model, real) {
      model.asked.push(await submit(real.pipe));
      await checkAll(model.asked, real.pipe, false);
    },
    toString: () => "submit",
  }),
  step,
  step,
  step,
  step,
  which.map((i) =>
    about("identify", i, async ({ id }, real) => {
      const pk = await pkOf(real.pipe, id);
      if (pk !== undefined) real.pipe.paper.identify(pk);
    }),
  ),
  which.map((i) =>
    about("webhook", i, async ({ id }, real) => {
      await real.pipe.pipeline.nudge((await pkOf(real.pipe, id)) ?? 999_999);
    }),
  ),
  fc.nat(5).map((i) =>
    world(`webhookOfAny(${i})`, async ({ pipe }) => {
      const pks = pipe.paper.pks();
      await pipe.pipeline.nudge(pks[pks.length - 1 - i] ?? 1);
    }),
  ),
  which.map((i) => about("approve", i, (one, real) => decide(one, real.pipe, "approve"))),
  which.map((i) => about("refuse", i, (one, real) => decide(one, real.pipe, "refuse"))),
  which.map((i) => about("code", i, async (one, { pipe }) => void (await giveCode(one, pipe, true)))),
  which.map((i) => about("wrongCode", i, async (one, { pipe }) => void (await giveCode(one, pipe, false)))),
  which.map((i) => about("resend", i, (one, { pipe }) => resend(one, pipe))),
  which.map((i) => about("cancel", i, (one, { pipe }) => cancel(one, pipe))),
  which.map((i) => about("restart", i, (one, { pipe }) => restart(one, pipe))),
  which.map((i) => about("correct", i, (one, { pipe }) => correct(one, pipe))),
  which.map((i) => about("retry", i, (one, { pipe }) => retry(one, pipe))),
  fc.constant(world("settle", ({ pipe }) => pipe.settle(), true)),
  fc
    .constantFrom(1_000, 50_000, 70_000, 200_000, 3_600_000)
    .map((ms) => world(`pass(${ms})`, ({ pipe }) => pipe.pass(ms), true)),
  fc.constant(world("sweep", async ({ pipe }) => void (await pipe.reconciler.sweep()))),
  fc
    .tuple(fc.constantFrom(...FAULTS), fc.constantFrom(true, true, true, false))
    .map(([fault, onlyEffects]) =>
      world(`fault(${fault}${onlyEffects ? ", effect" : ""})`, async ({ pipe }) =>
        pipe.paper.fault(fault, { onlyEffects }),
      ),
    ),
  fc.constantFrom(1, 2, 3).map((calls) => world(`forbid(${calls})`, async ({ pipe }) => pipe.paper.forbid(calls))),
  fc.constant(
    world("workerDies", async (real) => {
      real.crew.kill();
      await newCrew(real);
    }),
  ),
  fc.constant(
    world("workerStops", async (real) => {
      await real.crew.stop(0);
      await newCrew(real);
    }),
  ),
  fc.constant(world("locksLost", ({ pipe }) => pipe.loseLocks())),
  fc.constant(
    world("redisCut", async ({ pipe, crew }) => {
      for (const { stream } of [pipe.redis, crew.redis] as { stream?: Socket }[]) stream?.destroy();
    }),
  ),
];

test(
  "whatever people, the network, workers and Redis do, no request is lost and no effect happens that nobody asked for",
  { timeout: 120_000 },
  async () => {
    const pipe = await startPaperPipeline();
    await fc.assert(
      fc.asyncProperty(faults, fc.commands(commands, { maxCommands: COMMANDS, size: "max" }), async (early, run) => {
        const real: Real = { pipe, crew: pipe.crew() };
        const model: Model = { asked: [] };
        try {
          for (const fault of early) pipe.paper.fault(fault, { onlyEffects: true });
          model.asked.push(await submit(pipe));
          await fc.asyncModelRun(() => ({ model, real }), run);
          await comeToAnEnd(model.asked, pipe);
        } finally {
          await real.crew.stop(1_000);
          await pipe.forget();
        }
      }),
      { numRuns: RUNS, seed: SEED },
    );
  },
);
