import fc from "fast-check";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";
import { request as send } from "undici";
import { expect, onTestFinished, test } from "vitest";
import { isEnd } from "../../src/core/status.ts";
import type { Simulator } from "../../src/simulator/index.ts";
import { BASE_PATHS } from "../../src/simulator/operations.ts";
import { startHouse } from "../helpers/house.ts";
import { SEED } from "../helpers/property.ts";
import { type Asked, hostile, type Hostile, saysNothingWasDone, sendHostile } from "./hostile-answers.ts";

const REQUESTS = 10;
const WITHIN_MS = 15_000;

/** The calls of a request's life, and what each asks for. */
const OPERATIONS = [
  { name: "create", method: "POST", path: /^\/videoid$/, asked: "creation" },
  { name: "approve", method: "POST", path: /^\/videoid\/\d+\/approve$/, asked: "nothing" },
  { name: "read", method: "GET", path: /^\/request\//, asked: "request" },
  { name: "upload", method: "POST", path: /^\/document\//, asked: "uids" },
  { name: "contract", method: "GET", path: /^\/contract\//, asked: "pdf" },
  { name: "fetch", method: "GET", path: /^\/document\//, asked: "pdf" },
  { name: "otp", method: "POST", path: /^\/otp\//, asked: "nothing" },
  { name: "sign", method: "POST", path: /^\/sign\//, asked: "nothing" },
  { name: "delete", method: "DELETE", path: /^\//, asked: "nothing" },
] as const satisfies { name: string; method: string; path: RegExp; asked: Asked }[];

/** Instead of an answer: another one, after the work was done or without it. */
interface Lie {
  answer: Hostile;
  isDone: boolean;
}

const lie = (asked: Asked): fc.Arbitrary<Lie | undefined> =>
  fc.option(
    // Who did the work and says plainly that it was not done is believed; nobody could do otherwise.
    fc.record({ answer: hostile(asked), isDone: fc.boolean() }).map(({ answer, isDone }) => ({
      answer: { ...answer, early: false },
      isDone: isDone && !saysNothingWasDone(answer),
    })),
    { nil: undefined, freq: 2 },
  );

/** Stands before the simulator and answers in its place, each kind of call by its own plan until that is used up. */
async function startLiar(plans: ReadonlyMap<string, (Lie | undefined)[]>) {
  let simulator: Simulator | undefined;

  async function serve(call: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "GET", url = "/" } = call;
    const body = await buffer(call);
    const path = url.slice(BASE_PATHS.newest.length);
    const operation = OPERATIONS.find((one) => one.method === method && one.path.test(path));
    const planned = plans.get(operation?.name ?? "")?.shift();
    const forward = async () => {
      const { "content-type": type } = call.headers;
      const headers = type === undefined ? {} : { "content-type": type };
      const answer = await send(`${simulator?.origin}${url}`, {
        method: method as "GET",
        headers,
        body: body.length > 0 ? body : null,
      });
      return {
        status: answer.statusCode,
        type: answer.headers["content-type"],
        bytes: Buffer.from(await answer.body.arrayBuffer()),
      };
    };
    if (planned) {
      if (planned.isDone) await forward();
      if (call.socket) await sendHostile(call.socket, planned.answer);
      if (planned.answer.pace === "at once" || planned.answer.pace === "in pieces") call.socket.end();
      return;
    }
    const { status, type, bytes } = await forward();
    response.writeHead(status, { "content-type": String(type), "content-length": bytes.length }).end(bytes);
  }

  const server = createServer((call, response) => {
    call.socket.on("error", () => {});
    serve(call, response).catch(() => call.socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${BASE_PATHS.newest}`;
  return (before: Simulator): string => {
    simulator = before;
    return url;
  };
}

test("whatever is answered to the calls of a request's life, nothing is done a second time", async () => {
  const plan = fc.tuple(
    ...OPERATIONS.map(({ asked }) => fc.array(lie(asked), { minLength: REQUESTS, maxLength: REQUESTS })),
  );
  const [drawn = []] = fc.sample(plan, { numRuns: 1, seed: SEED });
  const plans = new Map(OPERATIONS.map(({ name }, i) => [name, drawn[i] ?? []]));
  const told = JSON.stringify([...plans], (key, value: unknown) => (key === "body" ? undefined : value));
  const house = await startHouse({
    simulator: { humans: { signer: "auto", signerDelayMs: 0 } },
    settings: { APPROVAL: "auto", ONESHOT_TIMEOUT_MS: "1000", ONESHOT_SIGN_TIMEOUT_MS: "1500" },
    oneshotUrl: await startLiar(plans),
  });
  const ids = await Promise.all(Array.from({ length: REQUESTS }, () => house.submit()));
  const coded = new Set<string>();
  for (const until = Date.now() + WITHIN_MS; Date.now() < until; await pause(200)) {
    const all = await house.app.store.readMany(ids);
    if (all.every(({ phase, waiting }) => isEnd(phase) || waiting?.for === "signed documents")) break;
    for (const { id, phase, waiting, facts } of all) {
      const code = house.simulator.codeOf(facts["requestPk"] as number);
      if (phase !== "waiting" || !/code$/.test(waiting?.for ?? "") || code === undefined || coded.has(id)) continue;
      const { status } = await house.call("POST", `/v1/requests/${id}/code`, { secret: code });
      if (status === 202 && waiting?.for === "another code") coded.add(id);
    }
  }

  for (const { id, stage, phase, facts } of await house.app.store.readMany(ids)) {
    const pk = facts["requestPk"] as number | undefined;
    const of = (effect: string) =>
      house.simulator.ledger.filter((entry) => entry.effect === effect && entry.request_pk === pk);
    const where = `${id} at ${stage} ${phase}, ${told}`;
    if (pk === undefined) continue;
    for (const effect of ["approve", "otp", "sign"])
      expect(of(effect).length, `${effect} of ${where}`).toBeLessThanOrEqual(1);
    for (const { seq } of of("sign")) {
      const emptiedAt = Math.max(0, ...of("delete-all").map((entry) => (entry.seq < seq ? entry.seq : 0)));
      const there = of("upload").filter((entry) => entry.seq > emptiedAt && entry.seq < seq);
      expect(there.length, `documents signed of ${where}`).toBe(1);
    }
    if (phase === "done") expect(of("sign").length, where).toBe(1);
    const due = await house.app.redis.zscore(house.app.keys.due, id);
    expect(isEnd(phase) || due !== null, where).toBe(true);
  }
  // Nothing was done for a request_pk that no request of ours has.
  const pks = new Set((await house.app.store.readMany(ids)).map(({ facts }) => facts["requestPk"]));
  const strange = house.simulator.ledger.filter(
    ({ effect, request_pk }) => /^(otp|sign|upload)$/.test(effect) && !pks.has(request_pk),
  );
  expect(strange, told).toEqual([]);
  // It was a fuzz and no massacre: some requests came through.
  expect(house.effects("sign")).toBeGreaterThan(0);
});
