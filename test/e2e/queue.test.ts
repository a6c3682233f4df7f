import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { Result } from "../../src/queues/answers.ts";
import { type House, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";
import { startQueues, typesOf } from "../helpers/queues.ts";

const EXAMPLE = new URL("../../examples/queue/submit.mjs", import.meta.url).pathname;
const ORDERS = new URL("../../examples/queue/orders.mjs", import.meta.url).pathname;
const patient = { timeout: 30_000 };

test("the example hands in by the queue, and is told how it goes, with nobody's data in the clear", async () => {
  const { house, jwk, redis } = await startQueues({}, true);
  const env = {
    ...process.env,
    REDIS_URL: house.redisUrl,
    REDIS_PREFIX: house.app.settings.REDIS_PREFIX,
    INTAKE_KEY: JSON.stringify(jwk),
    EMAIL: SIGNER.email,
    PHONE: SIGNER.mobile_phone_number,
  };
  const args = [EXAMPLE, "loan-2031", "lease.pdf", "--until", "request.waiting"];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env, timeout: 60_000 });
  const told = stdout
    .trim()
    .split("\n")
    .map((line) => Result.parse(JSON.parse(line)));
  expect(typesOf(told)).toEqual(["request.accepted", "request.waiting"]);
  const [accepted] = told;
  expect(accepted?.data).toMatchObject({ reference: "loan-2031", intake_job_id: "order-loan-2031" });
  const request = await house.app.store.get((accepted?.data as { id: string }).id);
  expect(request).toMatchObject({ source: "intake", reference: "loan-2031" });
  expect((await house.app.vault.read(request.id))?.signer.email).toBe(SIGNER.email);
  for (const key of await redis.keys(`${house.app.settings.REDIS_PREFIX.replaceAll(/[{}]/g, "[$&]")}*`)) {
    const type = await redis.type(key);
    const value = type === "hash" ? await redis.hgetall(key) : type === "string" ? await redis.get(key) : "";
    expect(JSON.stringify(value), key).not.toContain(SIGNER.email);
  }
}, 90_000);

test("the example that takes orders may be killed and given them again: each is one request, and none of its results is lost", async () => {
  const { house, jwk, folder } = await startQueues({}, true);
  await writeFile(join(folder, "rules.pdf"), await samplePdf());
  const orders = join(folder, "orders.json");
  const env = {
    ...process.env,
    REDIS_URL: house.redisUrl,
    REDIS_PREFIX: house.app.settings.REDIS_PREFIX,
    INTAKE_KEY: JSON.stringify(jwk),
    ORDERS: orders,
  };
  const lines = ["lease.pdf", "rules.pdf", "none/../../out.pdf"].map((document, n) =>
    JSON.stringify({ order: `47${n}`, email: SIGNER.email, phone: SIGNER.mobile_phone_number, document }),
  );
  const start = () => {
    const child = spawn(process.execPath, [ORDERS], { env, stdio: ["pipe", "pipe", "inherit"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    child.stdin.end(`${lines.join("\n")}\n`);
    return child;
  };
  const kept = async () => JSON.parse(await readFile(orders, "utf8").catch(() => "{}")) as Record<string, object>;
  const first = start();
  await expect.poll(async () => Object.keys(await kept()).length, patient).toBeGreaterThan(0);
  first.kill("SIGKILL");
  const again = start();
  await expect.poll(kept, patient).toMatchObject({
    470: { state: "waiting" },
    471: { state: "waiting" },
    472: { state: "refused at the door", code: "path-not-allowed" },
  });
  const { items } = (await house.call("GET", "/v1/requests")).body as { items: { reference: string; id: string }[] };
  expect(items.map(({ reference }) => reference).sort()).toEqual(["470", "471"]);
  // What comes later is kept as well, and nobody's data with it.
  await house.call("POST", `/v1/requests/${items[0]?.id}/cancel`);
  await expect.poll(kept, patient).toMatchObject({ [items[0]?.reference ?? ""]: { state: "cancelled" } });
  expect(JSON.stringify(await kept())).not.toContain("canary");
  const ended = new Promise((resolve) => again.once("exit", resolve));
  again.kill("SIGTERM");
  expect(await ended).toBe(0);
}, 90_000);

test("the same job makes one request, and another one under its id is refused", async () => {
  const { house, add, seal, toldOf } = await startQueues();
  const content = { manifest: { signer: SIGNER }, documents: [{ path: "lease.pdf" }] };
  await add({ version: 1, sealed: await seal(content) }, { jobId: "order-1" });
  await expect.poll(async () => typesOf(await toldOf("order-1")), patient).toEqual(["request.accepted"]);
  await add({ version: 1, sealed: await seal(content) }, { jobId: "order-1" });
  const other = { ...content, manifest: { signer: SIGNER, reference: "another" } };
  await add({ version: 1, sealed: await seal(other) }, { jobId: "order-2" });
  await expect.poll(async () => typesOf(await toldOf("order-2")), patient).toEqual(["request.accepted"]);
  expect(typesOf(await toldOf("order-1"))).toEqual(["request.accepted"]);
  await add({ version: 1, sealed: await seal(other) }, { jobId: "order-1" });
  await expect
    .poll(async () => typesOf(await toldOf("order-1")), patient)
    .toEqual(["request.accepted", "intake-id-reused"]);
  const { items } = (await house.call("GET", "/v1/requests")).body as { items: { id: string; documents: unknown[] }[] };
  expect(items).toHaveLength(2);
  // What was refused took nothing away from the request that has the id.
  const stored = items.map(({ id }) => house.app.documents.path({ id: `${id}/1.pdf` }));
  for (const path of stored) expect((await readFile(path)).subarray(0, 5).toString()).toBe("%PDF-");
}, 60_000);

test("a document that is named by its address is fetched from a host that the operator allows", async () => {
  const pdf = await samplePdf();
  let isUp = false;
  const server = createServer(({ url }, response) => {
    response.statusCode = isUp ? (url === "/lease.pdf?a=b" ? 200 : 404) : 503;
    response.end(response.statusCode === 200 ? pdf : "");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { add, seal, toldOf, house } = await startQueues({ DOCUMENT_HOSTS: origin });
  const job = async (url: string) => ({
    version: 1,
    sealed: await seal({ manifest: { signer: SIGNER }, documents: [{ url, name: "lease.pdf" }] }),
  });
  await add(await job(`${origin}/lease.pdf?a=b`), { jobId: "there" });
  await expect.poll(() => house.logged(), patient).toContain("document-host-unreachable");
  expect(await toldOf("there")).toEqual([]); // it may be had later
  isUp = true;
  await expect.poll(async () => typesOf(await toldOf("there")), patient).toEqual(["request.accepted"]);
  await add(await job(`${origin}/another.pdf`), { jobId: "gone" });
  await expect.poll(async () => typesOf(await toldOf("gone")), patient).toEqual(["document-not-fetched"]);
}, 60_000);

test("every bad job is answered with what is wrong, and goes", async () => {
  const { add, seal, toldOf, folder, intake, house } = await startQueues();
  await writeFile(join(folder, "text.pdf"), "no PDF");
  await symlink("/etc/hostname", join(folder, "out.pdf"));
  const ours = { signer: SIGNER };
  const sealed = async (documents: unknown[], manifest: unknown = ours) => ({
    version: 1,
    sealed: await seal({ manifest, documents }),
  });
  const zeros = createHash("sha256").update("another").digest("hex");
  const bad: Record<string, [unknown, string, string?]> = {
    "no-version": [{ sealed: "x", documents: [] }, "intake-invalid", "version"],
    "no-object": ["text", "intake-invalid", "version"],
    "held-by-themselves": [{ version: 1, sealed: "x", held: "AAAA" }, "intake-invalid", "held"],
    "unknown-field": [{ version: 1, sealed: "x", colour: "red" }, "intake-invalid", "colour"],
    nobody: [{ version: 1, documents: [{ path: "lease.pdf" }] }, "intake-invalid", "sealed"],
    unreadable: [{ version: 1, sealed: "e30.a.b.c.d", documents: [{ path: "lease.pdf" }] }, "intake-unreadable"],
    plain: [{ version: 1, manifest: ours, documents: [{ path: "lease.pdf" }] }, "intake-plain-not-allowed"],
    "no-signer": [await sealed([{ path: "lease.pdf" }], {}), "invalid-manifest", "manifest.signer"],
    "no-documents": [{ version: 1, sealed: await seal({ manifest: ours }) }, "intake-invalid", "documents"],
    "a-url": [await sealed([{ url: "https://example.com/a.pdf" }]), "document-host-not-allowed", "documents.0"],
    "a-text": [await sealed([{ path: "lease.pdf" }, { path: "text.pdf" }]), "not-a-pdf", "documents.1"],
    outside: [await sealed([{ path: "../lease.pdf" }]), "path-not-allowed", "documents.0"],
    absolute: [await sealed([{ path: "/etc/hostname" }]), "path-not-allowed", "documents.0"],
    "a-link-out": [await sealed([{ path: "out.pdf" }]), "path-not-allowed", "documents.0"],
    swapped: [await sealed([{ path: "lease.pdf", sha256: zeros }]), "intake-digest-mismatch", "documents.0"],
    callback: [
      await sealed([{ path: "lease.pdf" }], { ...ours, callback_url: "http://10.0.0.1/" }),
      "callback-not-allowed",
    ],
  };
  for (const [jobId, [data]] of Object.entries(bad)) await add(data, { jobId });
  for (const [jobId, [, code, field]] of Object.entries(bad)) {
    await expect.poll(async () => typesOf(await toldOf(jobId)), { ...patient, message: jobId }).toEqual([code]);
    const [told] = await toldOf(jobId);
    if (field)
      expect((told as { data: { errors?: unknown[] } }).data.errors, jobId).toContainEqual(
        expect.objectContaining({ field }),
      );
    expect(JSON.stringify(told), jobId).not.toContain("canary");
  }
  await expect.poll(async () => Object.values(await intake.getJobCounts()).reduce((a, b) => a + b, 0), patient).toBe(0);
  expect(house.logged()).not.toContain(SIGNER.email);
  const left = (await readdir(house.app.folders.work)).filter((name) => name.startsWith("req-"));
  expect(left).toEqual([]);
}, 90_000);

test("a document that comes after its job is waited for; without a worker nothing is lost", async () => {
  const { add, seal, toldOf, folder, intake } = await startQueues();
  const content = { manifest: { signer: SIGNER }, documents: [{ path: "later.pdf", name: "Lease.pdf" }] };
  const job = await add({ version: 1, sealed: await seal(content) });
  await expect.poll(async () => (await intake.getJobCounts())["delayed"], patient).toBe(1);
  await writeFile(join(folder, "later.pdf"), await samplePdf());
  await expect.poll(async () => typesOf(await toldOf(job.id ?? "")), patient).toEqual(["request.accepted"]);
}, 60_000);

test("a tenant that floods the queue is taken at its share, the others go past, and nothing of the flood is lost", async () => {
  const file = join(await mkdtemp(join(tmpdir(), "signpipe-tenants-")), "tenants.json");
  onTestFinished(() => rm(dirname(file), { recursive: true, force: true }));
  const account = { registration_authority: 1, raos: { ana: { rao: 1400, token: "t" } } };
  await writeFile(file, JSON.stringify({ acme: account, beta: account }), { mode: 0o600 });
  const { add, seal, toldOf, intake, house } = await startQueues({ TENANTS_FILE: file, INTAKE_TENANT_RATE: "4" });
  const jobFor = async (tenant: string, n: number) => {
    const manifest = { tenant, signer: { ...SIGNER, email: `canary-${n}@example.com` } };
    return { version: 1, sealed: await seal({ manifest, documents: [{ path: "lease.pdf" }] }) };
  };
  const flood = await Promise.all(Array.from({ length: 40 }, (_, n) => jobFor("acme", n)));
  const late = await Promise.all(Array.from({ length: 3 }, (_, n) => jobFor("beta", n)));
  await Promise.all(flood.map((data, n) => add(data, { jobId: `acme-${n}` })));
  const sinceMs = performance.now();
  await Promise.all(late.map((data, n) => add(data, { jobId: `beta-${n}` })));
  const accepted = async (tenant: string, count: number) => {
    const told = await Promise.all(Array.from({ length: count }, (_, n) => toldOf(`${tenant}-${n}`)));
    return told.filter((one) => typesOf(one).includes("request.accepted")).length;
  };
  await expect.poll(() => accepted("beta", 3), { ...patient, interval: 20 }).toBe(3);
  const tookMs = performance.now() - sinceMs;
  const early = await accepted("acme", 40);
  // Eight at once and four a second; those that wait do so in the queue.
  expect(early).toBeLessThanOrEqual(8 + Math.ceil((tookMs / 1_000) * 4) + 4);
  const { delayed = 0, waiting = 0, active = 0 } = await intake.getJobCounts();
  expect(delayed + waiting + active + (await accepted("acme", 40))).toBeGreaterThanOrEqual(40);
  await expect.poll(() => accepted("acme", 40), patient).toBe(40);
  expect(performance.now() - sinceMs).toBeGreaterThan(6_000);
  const { items } = (await house.call("GET", "/v1/requests?limit=100")).body as { items: unknown[] };
  expect(items).toHaveLength(43);
}, 60_000);

test("who signs leaves Redis as soon as the job is taken, where it may come in the clear", async () => {
  const { add, toldOf, intake, house } = await startQueues({ INTAKE_PLAIN: "true" });
  const data = { version: 1, manifest: { signer: SIGNER }, documents: [{ path: "not-there.pdf" }] };
  const job = await add(data, { jobId: "plain-1" });
  await expect.poll(async () => (await intake.getJobCounts())["delayed"], patient).toBe(1);
  const waiting = await intake.getJob(job.id ?? "");
  expect(JSON.stringify(waiting?.data)).not.toContain(SIGNER.email);
  await writeFile(join(house.app.settings.INTAKE_DIR ?? "", "not-there.pdf"), await samplePdf());
  await expect.poll(async () => typesOf(await toldOf("plain-1")), patient).toEqual(["request.accepted"]);
}, 60_000);

test("results that nobody takes are bounded: the oldest go, and are counted", async () => {
  const { add, results, house } = await startQueues({ RESULTS_MOST: "3", METRICS_OPEN: "true" });
  for (let n = 1; n <= 5; n++) await add({ version: n + 1 }, { jobId: `bad-${n}` });
  const jobs = async () => (await results.getWaiting()).length;
  const text = async () => Buffer.from((await house.download("/metrics")).bytes).toString();
  await expect.poll(text, patient).toContain("signpipe_results_dropped_total 2");
  expect(await jobs()).toBe(3);
  expect(await text()).toContain("signpipe_results 3");
}, 60_000);

test("the log of a request's notifications is read and replayed over HTTP", async () => {
  const house: House = await startHouse({
    settings: { CALLBACK_HOSTS: "127.0.0.1", CALLBACK_URL: "http://127.0.0.1:9/" },
  });
  const id = await house.submit();
  await house.waits(id, "identification");
  const path = `/v1/requests/${id}/notifications`;
  const log = async () => (await house.call("GET", path)).body["items"] as Record<string, unknown>[];
  const unreached = { type: "request.waiting", state: "waiting", attempts: 1, code: "callback-unreachable" };
  await expect.poll(log, patient).toEqual([expect.objectContaining(unreached)]);
  const [first] = await log();
  const replayed = await house.call("POST", `${path}/${String(first?.["id"])}/replay`);
  expect(replayed).toMatchObject({ status: 202, body: { id: first?.["id"], state: "waiting" } });
  await expect.poll(async () => (await log())[0]?.["attempts"], patient).toBe(2);
  expect(await house.call("POST", `${path}/msg_none/replay`)).toMatchObject({
    status: 404,
    body: { code: "no-such-notification" },
  });
  const all = await house.call("POST", "/v1/notifications/replay", { since: new Date(0).toISOString() });
  expect(all).toMatchObject({ status: 202, body: { replayed: 1 } });
  await expect.poll(async () => (await log())[0]?.["attempts"], patient).toBe(3);
}, 60_000);
