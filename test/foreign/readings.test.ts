import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, test } from "vitest";
import { type House } from "../helpers/house.ts";
import { BILLING, handIn, pdf, type Plan, RAO, type Seen, setUp } from "./house.ts";
import { judgesAreThere, signatureFault, structure } from "./judges.ts";
import { type Expected, faultsIn } from "./ledger.ts";
import { PROVIDERS, type Readings, SEED } from "./readings.ts";
import { type Effect, type Provider } from "./server.ts";
import { type Authority, createAuthority } from "./signing.ts";

const WITHIN_MS = 40_000;

let authority: Authority;
let judges: boolean;
beforeAll(async () => {
  authority = createAuthority();
  judges = await judgesAreThere();
});
afterAll(() => authority.close());

async function plans(): Promise<Plan[]> {
  return [
    { signer: "sidecar@example.com", documents: [await pdf()], through: "inbox", ends: "done" },
    {
      signer: "folder@example.com",
      documents: [await pdf({ pages: 3 }), await pdf({ objectStreams: true }), await pdf()],
      through: "folder",
      ends: "done",
    },
    {
      signer: "wrong-code@example.com",
      documents: [await pdf(), await pdf({ objectStreams: true })],
      through: "api",
      wrongCodes: 2,
      ends: "done",
    },
    { signer: "refused@example.com", documents: [await pdf()], through: "api", refused: true, ends: "refused" },
    { signer: "error@example.com", documents: [await pdf()], through: "inbox", fails: true, ends: "failed" },
  ];
}

/** The signers, the officer and the provider's operator, until every request has ended. */
async function playPeople(house: House, provider: Provider, all: Plan[]): Promise<Map<string, Seen>> {
  const tries = new Map<string, number>();
  const ended = new Map<string, Seen>();
  const late = Date.now() + WITHIN_MS;
  async function act(plan: Plan, seen: Seen): Promise<void> {
    const { body } = await house.call("GET", `/v1/requests/${seen.id}`);
    const request = body as unknown as Seen;
    const waits = request.state === "waiting" ? request.waiting?.for : undefined;
    if (waits === "identification" && request.videoid_link !== undefined)
      provider.identify(request.videoid_link, plan.fails ? "VIDEOERROR" : undefined);
    if (waits === "approval" && plan.refused)
      await house.call("POST", `/v1/requests/${seen.id}/refuse`, { reason: "The photograph is blurred." });
    else if (waits === "approval" && request.videoid_link !== undefined && !provider.identify(request.videoid_link))
      await house.call("POST", `/v1/requests/${seen.id}/approve`);
    if (waits !== "code" && waits !== "another code") return;
    const tried = tries.get(seen.id) ?? 0;
    const right = provider.codeOf(request.request_pk ?? 0) ?? "";
    const secret = tried < (plan.wrongCodes ?? 0) ? String((Number(right) + 1) % 1_000_000).padStart(6, "0") : right;
    const { status } = await house.call("POST", `/v1/requests/${seen.id}/code`, { secret });
    if (status === 202) tries.set(seen.id, tried + 1);
  }
  while (ended.size < all.length) {
    if (Date.now() > late) throw new Error(`not all has ended: ${await storiesOf(house)}`);
    const { body } = await house.call("GET", "/v1/requests?limit=100");
    for (const seen of body["items"] as Seen[]) {
      const plan = all.find(({ signer }) => provider.pksOf(signer).includes(seen.request_pk ?? -1));
      if (!plan) continue;
      if (["done", "refused", "failed", "cancelled", "expired"].includes(seen.state)) ended.set(plan.signer, seen);
      else await act(plan, seen);
    }
    await pause(40);
  }
  return ended;
}

/** The history of whatever has not ended, which is usually the answer. */
async function storiesOf(house: House): Promise<string> {
  const { body } = await house.call("GET", "/v1/requests?limit=100");
  const open = (body["items"] as Seen[]).filter(({ stage, state }) => stage !== "cleanup" || state === "retrying");
  const stories = open.map(async ({ id }) =>
    JSON.stringify((await house.call("GET", `/v1/requests/${id}/history`)).body),
  );
  return (await Promise.all(stories)).join("\n").replaceAll("},", "},\n");
}

function expectedOf(plan: Plan, requestPk: number, { operatorApproves, deleteRemoves }: Readings): Expected {
  const documents = plan.documents.length;
  const done: Partial<Record<Effect, number>> = {
    create: 1,
    ...(!operatorApproves && { approve: 1 }),
    upload: documents,
    otp: 1,
    ...(plan.wrongCodes && { "wrong-code": plan.wrongCodes }),
    sign: 1,
    delete: documents,
    // What a deletion of each leaves behind goes with a deletion of all.
    ...(deleteRemoves === "original-first" && { "delete-all": 1 }),
  };
  const effects = plan.refused ? { create: 1, refuse: 1 } : plan.fails ? { create: 1, cancel: 1 } : done;
  return { requestPk, documents: plan.documents, effects };
}

for (const [name, readings] of Object.entries(PROVIDERS)) {
  // Side by side: most of the time a provider is slow, or a signer.
  test.concurrent(
    `a provider that somebody else wrote is understood: ${name}`,
    async ({ expect, onTestFinished: atEnd }) => {
      const { house, provider, witness } = await setUp(authority, readings, { atEnd });
      const provides = { ...SEED, ...readings };
      const all = await plans();
      await Promise.all(all.map((plan) => handIn(house, plan)));
      const ended = await playPeople(house, provider, all);

      expect(Object.fromEntries([...ended].map(([signer, { state }]) => [signer, state]))).toEqual(
        Object.fromEntries(all.map(({ signer, ends }) => [signer, ends])),
      );
      expect((ended.get("error@example.com") as Seen).failure?.code).toBe("videoid-error");
      const expected = all.map((plan) => {
        const requestPk = ended.get(plan.signer)?.request_pk ?? 0;
        return expectedOf(plan, requestPk, provides);
      });
      expect(faultsIn(provider.ledger, expected)).toEqual([]);
      expect(witness.lost()).toEqual([]);
      expect(witness.seen()).toBe(6);
      expect(provider.heldDocuments()).toBe(0);

      const signed = await signedFiles(house, ended);
      expect(signed).toHaveLength(6);
      if (judges) {
        for (const path of signed) {
          expect(await signatureFault(path), path).toBeUndefined();
          expect(await structure(path), path).toBe(0);
        }
      }
      for (const secret of [RAO.token, BILLING.password, "sidecar@example.com"])
        expect(house.logged()).not.toContain(secret);
    },
  );
}

async function signedFiles(house: House, ended: Map<string, Seen>): Promise<string[]> {
  const folders = [...ended.values()]
    .filter(({ state }) => state === "done")
    .map(({ id }) => join(house.dataDir, "signed", id));
  const files = await Promise.all(
    folders.map(async (folder) =>
      (await readdir(folder)).filter((file) => file.endsWith(".signed.pdf")).map((file) => join(folder, file)),
    ),
  );
  return files.flat();
}
