import { rowRequestId } from "../../src/core/batch.ts";
import { createFeeder, type FeederParts } from "../../src/producers/batch/feeder.ts";
import { createRowSeals } from "../../src/queues/row-seals.ts";
import { acceptedBatch, BY_ITSELF, classicBatch } from "./batches.ts";
import { type House, startHouse } from "./house.ts";
import { silent } from "./toy.ts";

/** Somebody who believes to be the one who feeds, whoever else does. */
const sure = { lead: () => Promise.resolve(true), isLeading: () => true, resign: () => Promise.resolve() };

export function feederOf(house: House, more: Partial<FeederParts> = {}) {
  const { pipeline, documents, batches, queues } = house.app;
  return createFeeder({
    folders: batches.folders,
    pipeline,
    documents,
    seals: createRowSeals({ masterKey: house.keyRing.masterKey }),
    leader: sure,
    waiting: () => queues.waiting(),
    heldMs: () => Promise.resolve(0),
    standsFor: () => Promise.resolve(undefined),
    fetch: {
      remote: { fetch: () => Promise.reject(new Error("nothing is fetched here")) },
      appearances: { fit: () => Promise.resolve({}) },
      room: () => Promise.resolve(),
      maxBytes: 1024 ** 2,
    },
    keepMs: 60_000,
    log: silent,
    ...more,
  });
}

/** A house in which nobody works and nobody feeds, with a batch in it. */
export async function startWithBatch(rows: number, options: object = {}) {
  const house = await startHouse({ settings: BY_ITSELF, work: false, keep: false });
  const made = await classicBatch(rows);
  const id = await acceptedBatch(house, { ...made, options });
  return { house, id, made };
}

/** Rounds until nothing more is submitted. */
export async function feedAll(house: House, feeder = feederOf(house)): Promise<void> {
  for (let rounds = 0; rounds < 50; rounds++) if (!(await feeder.round())) return;
  throw new Error("there is always more to submit");
}

export async function requestsIn(house: House): Promise<string[]> {
  return (await house.app.pipeline.list({ limit: 200 })).items.map(({ id }) => id).sort();
}

export const expectedIds = (id: string, rows: number) =>
  Array.from({ length: rows }, (_, i) => rowRequestId(id, i + 2, 1)).sort();
