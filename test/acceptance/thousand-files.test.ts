import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { makePdf } from "../integration/inbox-house.ts";
import { KINDS, namesOf, startPlace } from "./place.ts";

describe.each(KINDS)("%s", (kind) => {
  test("W1: a thousand files that come at once are all taken, once", async () => {
    const place = await startPlace(kind);
    const outside = `${place.dir}-outside`;
    mkdirSync(outside);
    const names = Array.from({ length: 1_000 }, (_, n) => `${n}.pdf`);
    for (const name of names) writeFileSync(join(outside, name), makePdf(name));
    for (const name of names) renameSync(join(outside, name), place.at("inbox", name));
    const requests = await place.count(1_000, 60_000);
    expect(requests.flatMap(namesOf).sort()).toEqual([...names].sort());
    expect(place.names("inbox")).toEqual([]);
    expect(place.names("failed")).toEqual([]);
  });
});
