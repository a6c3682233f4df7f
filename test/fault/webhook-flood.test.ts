import fc from "fast-check";
import { setTimeout as pause } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { Pool } from "undici";
import { expect, onTestFinished, test } from "vitest";
import { type House, startHouse } from "../helpers/house.ts";
import { SEED } from "../helpers/property.ts";

const FLOOD = 10_000;
const BODIES = 400;
/** What a flood may cost the provider. */
const CALLS_PER_SECOND = 5;
/** A request's own share of hints, see src/producers/api/hints.ts. */
const SHARE = 4;
const MEMORY_MOST = 200 << 20;

const callsOf = ({ simulator }: House) => simulator.calls.get("getRequest") ?? 0;
const pkOf = async ({ app }: House, id: string) => (await app.store.get(id)).facts["requestPk"] as number;

function startSender(house: House) {
  const pool = new Pool(house.api, { connections: 16, pipelining: 1 });
  onTestFinished(() => pool.destroy());
  return async (body: string | Buffer, { secret = house.keyRing.webhookSecret, headers = {} } = {}) => {
    const path = `/webhooks/oneshot/${secret}`;
    const answer = await pool.request({ method: "POST", path, body, headers });
    return { status: answer.statusCode, text: await answer.body.text(), headers: answer.headers };
  };
}

/** Both published shapes, with whatever in the place of the number. */
const shaped = (value: fc.Arbitrary<unknown>) =>
  value.chain((pk) =>
    fc.constantFrom<object>(
      { status: "VIDEOREVIEW", date: "2026-01-15T08:36:33.000000", previous_status: null, request: pk },
      {
        event_type: "VIDEOID_UPDATED",
        sent_at: "20260115083633",
        request: { status: "VIDEOREVIEW", pk },
        certificates: [],
      },
    ),
  );

const odd = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom<unknown>(
    -1,
    0,
    1.5,
    1e308,
    2 ** 53,
    "1e3",
    "0x10",
    " 7",
    "7 ",
    "",
    [7],
    { pk: 7 },
    { pk: { pk: 7 } },
    true,
    null,
  ),
);

const raw = fc.constantFrom<string | Buffer>(
  "",
  "NaN",
  '{"request":NaN}',
  '{"request":1e999}',
  '{"request":4711',
  '{"request":4711}garbage',
  `${"[".repeat(4_000)}${"]".repeat(4_000)}`,
  `${'{"request":'.repeat(700)}1${"}".repeat(700)}`,
  '{"__proto__":{"request":4711}}',
  '{"constructor":{"prototype":{"request":4711}}}',
  '{"request":{"__proto__":{"pk":4711}}}',
  '[{"request":4711}]',
  Buffer.from('\ufeff{"request":4711}', "utf16le"),
  Buffer.from([0xff, 0xfe, 0x00, 0x7b]),
  `{"request":4711,"filler":"${"x".repeat(8_200)}"}`,
  "x".repeat(100_000),
  gzipSync(Buffer.alloc(50 << 20)),
  gzipSync('{"request":4711}'),
);

const bodies: fc.Arbitrary<string | Buffer> = fc.oneof(
  shaped(odd).map((value) => JSON.stringify(value)),
  fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
  raw,
);

const headers = fc.constantFrom<Record<string, string>>(
  {},
  { "content-type": "application/json" },
  { "content-type": "application/json; charset=utf-16" },
  { "content-type": "multipart/form-data; boundary=x" },
  { "content-encoding": "gzip" },
  { "content-type": "" },
);

test("no notification, whatever is in it, does more than be refused or be a hint", async () => {
  const house = await startHouse();
  const send = startSender(house);
  const id = await house.submit();
  await house.waits(id, "identification");
  const version = (await house.app.store.read(id))?.version;
  const wrong = await send('{"request":4711}', { secret: "wrong" });
  await fc.assert(
    fc.asyncProperty(bodies, headers, async (body, given) => {
      const right = await send(body, { headers: given });
      expect([200, 400, 413, 415]).toContain(right.status);
      if (Buffer.byteLength(body) > 8 * 1024) expect([413, 415]).toContain(right.status);
      // With another secret nothing shows of what the body does. An encoding is refused before anybody looks at either.
      const other = await send(body, { headers: given, secret: "wrong-" + house.keyRing.webhookSecret.slice(6) });
      const same = right.status === 415 ? right : wrong;
      expect(other.status).toBe(same.status);
      expect(shapeOf(other.text)).toEqual(shapeOf(same.text));
    }),
    { numRuns: BODIES, seed: SEED },
  );
  expect(({} as Record<string, unknown>)["pk"]).toBeUndefined();
  expect((await house.app.store.read(id))?.version).toBe(version);
  expect((await house.call("GET", "/health/ready")).status).toBe(200);
});

/** An answer without what differs from one call to the next. */
function shapeOf(text: string): unknown {
  const { correlation_id, instance, ...rest } = JSON.parse(text) as Record<string, unknown>;
  return { ...rest, correlation_id: typeof correlation_id, instance: typeof instance };
}

test("ten thousand notifications in a few seconds cost the provider little, and hold nobody up", async () => {
  const house = await startHouse({ settings: { LOCK_MS: "15000" } });
  const send = startSender(house);
  const known: { id: string; pk: number }[] = [];
  for (let i = 0; i < 3; i++) {
    const id = await house.submit();
    await house.waits(id, "identification");
    known.push({ id, pk: await pkOf(house, id) });
  }
  // The provider's own notifications are lost in it, as under a true flood.
  house.simulator.set({ webhooks: { drop: true } });
  const heapBefore = process.memoryUsage().heapUsed;
  const callsBefore = callsOf(house);
  const startedMs = performance.now();
  let sent = 0;
  const statuses = new Map<number, number>();
  async function flood(): Promise<void> {
    while (sent < FLOOD) {
      const n = sent++;
      // First replays alone, then one of five among requests that are nobody's; one of fifty is garbage.
      const pk = n < FLOOD / 3 || n % 5 === 0 ? known[n % 3]?.pk : 5_000_000 + n;
      const { status } = await send(n % 50 === 1 ? "garbage" : JSON.stringify({ request: n % 2 ? pk : { pk } }));
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  }
  const pauses: number[] = [];
  async function watch(): Promise<void> {
    while (sent < FLOOD) {
      const askedMs = performance.now();
      expect((await house.call("GET", `/v1/requests/${known[0]?.id}`)).status).toBe(200);
      pauses.push(performance.now() - askedMs);
      await pause(50);
    }
  }
  async function goOn(): Promise<void> {
    while (sent < FLOOD / 3) await pause(10);
    expect(house.simulator.identify(known[1]?.pk ?? 0, "complete")).toBe(true);
    await house.waits(known[1]?.id ?? "", "approval", 30_000);
    await house.call("POST", `/v1/requests/${known[1]?.id}/approve`);
    await house.waits(known[1]?.id ?? "", "code", 30_000);
  }
  const others = goOn();
  await Promise.all([...Array.from({ length: 16 }, flood), watch()]);
  const seconds = (performance.now() - startedMs) / 1_000;
  const calls = callsOf(house) - callsBefore;
  await others;

  expect([...statuses.keys()].filter((status) => ![200, 400, 503].includes(status))).toEqual([]);
  // Each request is looked at every two seconds anyway, shortly after something was heard of it.
  const anyway = known.length * (seconds / 2 + 2);
  expect(calls).toBeLessThanOrEqual(CALLS_PER_SECOND * (seconds + 1) + SHARE * known.length + anyway);
  expect(Math.max(...pauses)).toBeLessThan(5_000);
  expect(process.memoryUsage().heapUsed - heapBefore).toBeLessThan(MEMORY_MOST);
  const strangers = await house.app.redis.zcard(house.app.keys.strangers);
  expect(strangers).toBeLessThanOrEqual(1_000 + 4); // four are passed on at once
  // Whoever comes after it is served as ever.
  const late = await house.submit();
  await house.waits(late, "identification");
});

test("numbers that are nobody's, while a creation is unheard of, are looked at a few a second", async () => {
  const house = await startHouse({ settings: { CREATE_GRACE_MS: "60000" } });
  house.simulator.set({ webhooks: { drop: true } });
  house.simulator.fault({ operation: "createVideoId", kind: "reset-after" });
  const id = await house.submit();
  await house.waits(id, "word of the creation");
  const send = startSender(house);
  const startedMs = performance.now();
  for (let pk = 6_000_000; pk < 6_000_600; pk++) await send(JSON.stringify({ request: pk }));
  await expect.poll(() => callsOf(house), { timeout: 20_000 }).toBeGreaterThan(10);
  await pause(2_000); // a flood's price shows over some time only
  const seconds = (performance.now() - startedMs) / 1_000;
  expect(callsOf(house)).toBeLessThanOrEqual(CALLS_PER_SECOND * (seconds + 2));
  await house.call("POST", `/v1/requests/${id}/cancel`);
  await house.reaches(id, "cleanup", "cancelled", 30_000);
  expect(house.effects("create")).toBe(1);
});
