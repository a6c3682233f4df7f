import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { handIn, pdf, type Plan, type Seen, setUp } from "./house.ts";
import { faultsIn } from "./ledger.ts";
import { type Readings } from "./readings.ts";
import { type Effect } from "./server.ts";
import { type Authority, createAuthority } from "./signing.ts";

let authority: Authority;
beforeAll(() => {
  authority = createAuthority();
});
afterAll(() => authority.close());

interface ClearEnd {
  because: string;
  readings?: Partial<Readings>;
  settings?: Record<string, string>;
  code?: string;
  /** What the operator is waited for, where that is no end. */
  waits?: string;
  effects: Partial<Record<Effect, number>>;
}

/** What no client can make good: it must end, or wait for the operator, with the right reason and without an effect that was not wanted. */
const CLEAR_ENDS: ClearEnd[] = [
  {
    because: "it wants env",
    readings: { envRequired: true },
    settings: { ONESHOT_ENV: "" },
    code: "configuration-rejected",
    effects: {},
  },
  {
    because: "the billing account is wrong",
    settings: { ONESHOT_BILLING_PASSWORD: "another" },
    waits: "an accepted billing account",
    effects: {},
  },
  {
    because: "the officer's token is wrong",
    settings: { ONESHOT_RAO_TOKEN: "another" },
    waits: "accepted RAO credentials",
    effects: { create: 1 },
  },
  {
    because: "it has the approval elsewhere",
    readings: { approvePath: "request", unrouted: "html" },
    code: "call-unknown",
    effects: { create: 1 },
  },
  {
    because: "it takes fewer documents",
    readings: { documentsPerRequest: 2, error: "old" },
    code: "too-many-documents",
    effects: { create: 1, approve: 1 },
  },
];

for (const { because, readings = {}, settings = {}, code, waits, effects } of CLEAR_ENDS) {
  const how = waits ? "waits for the operator" : "ends with the reason";
  test(`a request that a provider cannot take ${how}: ${because}`, async () => {
    const { house, provider } = await setUp(authority, readings, { settings, atEnd: onTestFinished });
    const plan: Plan = {
      signer: "folder@example.com",
      documents: [await pdf(), await pdf(), await pdf()],
      through: "folder",
      ends: "failed",
    };
    await handIn(house, plan);
    const open = async (): Promise<Seen | undefined> =>
      ((await house.call("GET", "/v1/requests")).body["items"] as Seen[])[0];
    const atEnd = async (): Promise<string | undefined> => {
      const seen = await open();
      if (seen?.waiting?.for === "identification" && seen.videoid_link !== undefined)
        provider.identify(seen.videoid_link);
      return seen?.state === "failed" ? seen.failure?.code : seen?.waiting?.for;
    };
    await expect.poll(atEnd, { timeout: 15_000 }).toBe(code ?? waits);
    const requestPk = (await open())?.request_pk;
    const expected = requestPk === undefined ? [] : [{ requestPk, documents: plan.documents, effects }];
    expect(faultsIn(provider.ledger, expected)).toEqual([]);
  });
}
