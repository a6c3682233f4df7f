import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { PDFDocument, PDFString } from "@cantoo/pdf-lib";
import { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { startSimulator } from "../../src/simulator/index.ts";
import { type Canary, dumpRedis, isThere, leaks, type Place, readFolder } from "../helpers/canaries.ts";
import { startOwnRedis } from "../helpers/own-redis.ts";

const unique = () => randomBytes(6).toString("hex");

/** Evidence names the signer because it has to; a sidecar is what a person dropped, as long as it is needed. */
const SIGNER_MAY = ["evidence", "sidecar"];
/** A certificate is made out to a name, and the contract as well. */
const PERSON_MAY = [...SIGNER_MAY, "document", "download"];
/** Names of documents are the caller's to choose; they are kept out of logs, metrics, jobs, histories and callbacks. */
const NAME_MAY = [
  "journal",
  ...["redis", "aof", "show", "acting", "list", "cli", "problem"],
  ...["status", "note", "evidence", "claim", "sidecar", "document", "download"],
];
const LINK_MAY = ["journal", "redis", "aof", "show", "acting", "list", "cli", "status"];

const SIGNER = {
  email: `ana.${unique()}@canary.example.com`,
  mobile_phone_number: `+3469${String(randomBytes(4).readUInt32BE()).padStart(10, "0").slice(0, 10)}`,
  given_name: `Añá "C" ${unique()}`,
  surname_1: `Cañáry & ${unique()}`,
  surname_2: `O'Segunda ${unique()}`,
  serial_number: `IDCES-${unique()}`,
};
const SECRETS = {
  billingUser: `billing-${unique()}`,
  billingPassword: `bill+pass/${unique()}"=`,
  raoToken: `rao-token-${unique()}`,
  raoUser: `rao-user-${unique()}`,
  raoPassword: `rao pass?&${unique()}`,
  raoPin: `pin-${unique()}`,
  tenantBillingUser: `tenant-billing-${unique()}`,
  tenantBillingPassword: `tenant+bill/${unique()}"=`,
  tenantToken: `tenant-token-${unique()}`,
  tenantUser: `tenant-user-${unique()}`,
  tenantPassword: `tenant pass?&${unique()}`,
  tenantPin: `tenant-pin-${unique()}`,
  tenantKey: `tenant-key-${unique()}`,
  apiKey: `api-key-${unique()}`,
  otherKey: `other-key-${unique()}`,
  webhook: `webhook-${unique()}${unique()}`,
  masterKey: randomBytes(32).toString("base64"),
  unlock: `unlock "value" ${unique()}`,
  reason: `The photo of "Ana" is blurred, ${unique()}`,
  wrongCode: `wrong-${unique()}`,
  wrongKey: `wrong-key-${unique()}`,
  idempotencyKey: `idempotency-${unique()}`,
  callbackToken: `callback-${unique()}`,
};
const CONTENT = `content-${unique()}`;
const BARE_NAME = `Contrato de Ana ${unique()}`;
const NAME = `${BARE_NAME}.pdf`;

const CANARIES: Canary[] = [
  ...Object.entries(SIGNER).map(([what, value]) => ({
    what,
    value,
    may: /name|number$/.test(what) && !what.startsWith("mobile") ? PERSON_MAY : SIGNER_MAY,
  })),
  ...Object.entries(SECRETS).map(([what, value]) => ({ what, value })),
  { what: "masterKey's bytes", value: Buffer.from(SECRETS.masterKey, "base64") },
  { what: "a document's content", value: CONTENT, may: ["document", "download"] },
  { what: "a document's name", value: BARE_NAME, may: NAME_MAY },
  { what: "a document's name, rewritten", value: BARE_NAME.replaceAll(" ", "_") },
].map((canary) => (["unlock", "callbackToken"].includes(canary.what) ? { ...canary, may: ["sidecar"] } : canary));

const TENANTS = {
  acme: {
    registration_authority: 1000,
    profile: "PFnubeQAFCiudadano",
    billing_username: SECRETS.tenantBillingUser,
    billing_password: SECRETS.tenantBillingPassword,
    raos: {
      maria: { rao: 1400, token: SECRETS.tenantToken },
      jose: {
        rao: 1401,
        username: SECRETS.tenantUser,
        password: SECRETS.tenantPassword,
        pin: SECRETS.tenantPin,
      },
    },
  },
};

/** What a provider says that repeats what it was sent, in every way it could. */
const echo = (...values: string[]) => ({
  status: "error",
  message: `Rejected: ${values.join(" | ")}`,
  details: values.map((value) => ({ json: JSON.stringify({ value }), url: `/x?v=${encodeURIComponent(value)}` })),
});

/** A rejected field, as this provider says it. */
const INVALID = {
  status: "500 Internal Server Error",
  details: { email: [`${SIGNER.email} is not valid`], mobile_phone_number: [SIGNER.mobile_phone_number] },
};

test(
  "no secret and nothing personal is anywhere it does not belong, whatever goes wrong",
  { timeout: 150_000 },
  async () => {
    const redis = await startOwnRedis();
    const simulator = await startSimulator({ otpGuardMs: 100 });
    onTestFinished(() => simulator.close());
    const caller = await startDeafCaller();
    const dataDir = await temporary();
    const tenantsFile = join(await temporary(), "tenants.json");
    writeFileSync(tenantsFile, JSON.stringify(TENANTS), { mode: 0o600 });
    const canaries = [...CANARIES, { what: "Redis' password", value: new URL(redis.url).password, may: ["run.json"] }];
    const env = {
      DATA_DIR: dataDir,
      REDIS_URL: redis.url,
      ONESHOT_URL: simulator.url,
      ONESHOT_REGISTRATION_AUTHORITY: "1000",
      ONESHOT_PROFILE: "PFnubeQAFCiudadano",
      ONESHOT_BILLING_USERNAME: SECRETS.billingUser,
      ONESHOT_BILLING_PASSWORD: SECRETS.billingPassword,
      ONESHOT_RAO: "1400",
      ONESHOT_RAO_TOKEN: SECRETS.raoToken,
      ONESHOT_RAO_USERNAME: SECRETS.raoUser,
      ONESHOT_RAO_PASSWORD: SECRETS.raoPassword,
      ONESHOT_RAO_PIN: SECRETS.raoPin,
      TENANTS_FILE: tenantsFile,
      API_KEYS: `crm:${SECRETS.apiKey},ops:${SECRETS.otherKey},shop@acme:${SECRETS.tenantKey}`,
      API_PORT: "0",
      WEBHOOK_SECRET: SECRETS.webhook,
      MASTER_KEY: SECRETS.masterKey,
      CALLBACK_HOSTS: caller.host,
      LOG_LEVEL: "trace",
      INBOX_SETTLE_MS: "200",
      INBOX_SWEEP_MS: "400",
      SETTLE_MS: "300",
      SIGN_SETTLE_MS: "500",
      CREATE_GRACE_MS: "500",
      LOCK_MS: "3000",
      SHUTDOWN_GRACE_MS: "2000",
    };
    const places: Place[] = [];
    const see = (kind: string, where: string, content: string | Buffer) => void places.push({ kind, where, content });
    const inspector = new Redis(redis.url, { maxRetriesPerRequest: null });
    inspector.on("error", () => {});
    onTestFinished(() => inspector.disconnect());
    const look = async () => void places.push(...(await dumpRedis(inspector)));

    let main = startSignpipe(["start"], env);
    let { api } = await main.ready;
    const hook = () => simulator.set({ webhookUrl: `${api}/webhooks/oneshot/${SECRETS.webhook}` });
    hook();
    const bearer = { authorization: `Bearer ${SECRETS.apiKey}` };

    /** Calls the API; the whole answer is looked at later. */
    async function call(kind: string, method: string, path: string, body?: unknown, headers: object = bearer) {
      const json = body !== undefined && !(body instanceof FormData) && typeof body !== "string";
      const answer = await fetch(`${api}${path}`, {
        method,
        headers: { ...headers, ...(json && { "content-type": "application/json" }) },
        redirect: "manual",
        ...(body !== undefined && { body: json ? JSON.stringify(body) : (body as FormData) }),
      });
      const bytes = Buffer.from(await answer.arrayBuffer());
      const head = `${answer.status} ${JSON.stringify([...answer.headers])}\n`;
      see(kind, `${method} ${path.split("?")[0]} ${answer.status}`, Buffer.concat([Buffer.from(head), bytes]));
      return { status: answer.status, headers: answer.headers, text: bytes.toString() };
    }
    const show = async (id: string) => JSON.parse((await call("show", "GET", `/v1/requests/${id}`)).text) as Shown;

    async function submit(more: object = {}, headers: object = {}): Promise<string> {
      const form = new FormData();
      form.set("manifest", JSON.stringify({ signer: SIGNER, callback_url: callbackUrl, ...more }));
      form.append("file", new Blob([new Uint8Array(await pdf())], { type: "application/pdf" }), NAME);
      const answer = await call("accepted", "POST", "/v1/requests", form, { ...bearer, ...headers });
      expect(answer.status, answer.text).toBe(202);
      return (JSON.parse(answer.text) as { id: string }).id;
    }
    const callbackUrl = `https://${caller.host}/hooks/${SECRETS.callbackToken}?token=${SECRETS.callbackToken}`;

    async function until(id: string, wanted: (shown: Shown) => boolean): Promise<Shown> {
      await expect.poll(async () => wanted(await show(id)), { timeout: 25_000, interval: 60 }).toBe(true);
      await look();
      return await show(id);
    }
    const waits = (id: string, what: string) => until(id, ({ waiting }) => waiting?.for === what);
    const ends = (id: string, state: string) => until(id, (shown) => shown.state === state);

    async function identified(id: string): Promise<number> {
      const { request_pk: pk, videoid_link: link } = await waits(id, "identification");
      canaries.push({ what: "a videoid_link", value: link.split("/").at(-1) ?? "", may: LINK_MAY });
      const { email: _email, mobile_phone_number: _phone, ...person } = SIGNER;
      simulator.identify(pk, "complete", person);
      await waits(id, "approval");
      return pk;
    }
    async function coded(id: string, pk: number): Promise<void> {
      await waits(id, "code");
      const code = simulator.codeOf(pk) ?? "";
      canaries.push({ what: "a one-time code", value: code });
      await look();
      expect((await call("acting", "POST", `/v1/requests/${id}/code`, { secret: code })).status).toBe(202);
      await ends(id, "done");
    }

    // A provider that repeats what it was sent, in the middle of a request that succeeds in the end.
    simulator.fault({
      operation: "createVideoId",
      kind: "status-before",
      status: 429,
      body: echo(
        SIGNER.email,
        SIGNER.mobile_phone_number,
        SECRETS.billingUser,
        SECRETS.billingPassword,
        Buffer.from(SECRETS.billingPassword).toString("base64"),
      ),
      retryAfterS: 1,
    });
    const success = await submit({ reference: "loan-1" }, { "idempotency-key": SECRETS.idempotencyKey });
    await submit({ reference: "loan-1" }, { "idempotency-key": SECRETS.idempotencyKey }).catch(() => {});
    const pk = await identified(success);
    simulator.fault({ operation: "approveVideoId", kind: "status-before", status: 503, body: echo(SECRETS.raoToken) });
    simulator.fault({
      operation: "uploadDocument",
      kind: "status-before",
      status: 503,
      body: echo(NAME, BARE_NAME, BARE_NAME.replaceAll(" ", "_")),
    });
    simulator.fault({
      operation: "generateOtp",
      kind: "status-before",
      status: 503,
      body: echo(SIGNER.mobile_phone_number),
    });
    simulator.fault({
      operation: "sign",
      kind: "status-before",
      status: 400,
      body: { message: `Confirmation code ${SECRETS.wrongCode} is invalid` },
    });
    await call("acting", "POST", `/v1/requests/${success}/approve`);
    await waits(success, "code");
    await call("acting", "POST", `/v1/requests/${success}/code`, { secret: SECRETS.wrongCode });
    await waits(success, "another code");

    // Redis is killed with a request in the middle, and back on its data a moment later.
    await redis.restart(700);
    await expect.poll(async () => (await call("health", "GET", "/health/ready")).status, { timeout: 20_000 }).toBe(200);
    const code = simulator.codeOf(pk) ?? "";
    canaries.push({ what: "the one-time code", value: code });
    await call("acting", "POST", `/v1/requests/${success}/code`, { secret: code });
    await ends(success, "done");

    // Refused, with a provider that first repeats the reason.
    const refused = await submit();
    await identified(refused);
    simulator.fault({
      operation: "refuseVideoId",
      kind: "status-before",
      status: 503,
      body: echo(SECRETS.reason, SECRETS.raoToken),
    });
    await call("acting", "POST", `/v1/requests/${refused}/refuse`, { reason: SECRETS.reason });
    await ends(refused, "refused");

    // On a tenant's account, whose provider repeats it: once for good, so that what stands still is told everywhere.
    const ofTenant = { authorization: `Bearer ${SECRETS.tenantKey}` };
    const forTenant = await submit({ tenant: "acme" }, ofTenant);
    const tenantsPk = await identified(forTenant);
    simulator.fault({
      operation: "approveVideoId",
      kind: "status-before",
      status: 403,
      body: { status: "error", message: `Invalid RAO credentials: ${SECRETS.tenantToken}` },
    });
    await call("acting", "POST", `/v1/requests/${forTenant}/approve`, undefined, ofTenant);
    await waits(forTenant, "accepted RAO credentials");
    await call("show", "GET", `/v1/requests/${forTenant}`, undefined, ofTenant);
    await call("problem", "GET", `/v1/requests/${success}`, undefined, ofTenant);
    await call("show", "GET", "/v1/lanes");
    await call("health", "GET", "/health/ready");
    await call("acting", "POST", "/v1/lanes/resume");
    await coded(forTenant, tenantsPk);
    simulator.fault({
      operation: "createVideoId",
      kind: "status-before",
      status: 429,
      body: echo(SECRETS.tenantBillingUser, SECRETS.tenantBillingPassword),
      retryAfterS: 1,
    });
    const forOther = await submit({ tenant: "acme", rao: "jose" });
    await identified(forOther);
    simulator.fault({
      operation: "approveVideoId",
      kind: "status-before",
      status: 503,
      body: echo(SECRETS.tenantUser, SECRETS.tenantPassword, SECRETS.tenantPin),
    });
    await call("acting", "POST", `/v1/requests/${forOther}/approve`);
    await waits(forOther, "code");
    await call("problem", "POST", "/v1/requests", formOf({ signer: SIGNER, tenant: "beta" }));

    // Rejected for good, in the words of the input.
    simulator.fault({
      operation: "createVideoId",
      kind: "validation",
      body: INVALID,
    });
    const rejected = await submit();
    const { failure } = await ends(rejected, "failed");
    expect(failure?.code).toBe("invalid-input");

    // An external authentication instead of a code, refused once.
    const external = await submit({ authentication: { method: "external", type: "biometric", value: SECRETS.unlock } });
    await identified(external);
    simulator.fault({ operation: "sign", kind: "status-before", status: 503, body: echo(SECRETS.unlock) });
    await call("acting", "POST", `/v1/requests/${external}/approve`);
    await ends(external, "done");

    // From the inbox: one that succeeds, the same again, one that nobody can use, and one that is rejected.
    const inbox = join(dataDir, "inbox");
    const document = await pdf();
    const sidecar = { signer: SIGNER, callback_url: callbackUrl };
    drop(inbox, NAME, document, sidecar);
    const statusFile = join(dataDir, "status", `${NAME}.status.json`);
    const status = () => (existsSync(statusFile) ? (readJson(statusFile) as Status) : {});
    await expect.poll(() => status().waiting?.for, { timeout: 15_000 }).toBe("identification");
    const keepFiles = () => void places.push(...readFolder(dataDir, kindOf));
    keepFiles();
    const dropped = status().request_id ?? "";
    const droppedPk = await identified(dropped);
    await call("acting", "POST", `/v1/requests/${dropped}/approve`);
    await coded(dropped, droppedPk);
    await expect.poll(() => status().state, { timeout: 10_000 }).toBe("done");
    drop(inbox, NAME, document, sidecar);
    await expect.poll(() => readdirSync(join(dataDir, "duplicates")).length, { timeout: 15_000 }).toBeGreaterThan(0);
    drop(inbox, "unusable.pdf", await pdf(), {
      signer: { ...SIGNER, email: SIGNER.given_name, serial_number: 7, id_document_type: SIGNER.serial_number },
      callback_url: `http://${SECRETS.callbackToken}`,
    });
    simulator.fault({
      operation: "createVideoId",
      kind: "validation",
      body: INVALID,
    });
    drop(inbox, `again ${NAME}`, await pdf(), sidecar);
    await expect
      .poll(() => readdirSync(join(dataDir, "failed")).filter((name) => name.endsWith(".error.json")).length, {
        timeout: 20_000,
      })
      .toBe(2);

    // A signed file that is damaged afterwards, and asked for.
    const signedFile = join(dataDir, "signed", success, `${NAME}.signed.pdf`);
    await call("download", "GET", `/v1/requests/${success}/documents/1/signed`);
    await call("download", "GET", `/v1/requests/${success}/contract`);
    renameSync(signedFile, join(dataDir, "away.pdf"));
    expect((await call("problem", "GET", `/v1/requests/${success}/documents/1/signed`)).status).toBeGreaterThanOrEqual(
      400,
    );
    renameSync(join(dataDir, "away.pdf"), signedFile);

    // Callers' mistakes, with what they should not have sent there.
    for (const [method, path, body, headers] of [
      ["GET", "/v1/requests", undefined, { authorization: `Bearer ${SECRETS.wrongKey}` }],
      ["GET", `/v1/requests?state=${encodeURIComponent(SIGNER.email)}`],
      ["GET", `/v1/requests?cursor=${SECRETS.wrongKey}&key=${SECRETS.apiKey}`],
      ["GET", `/v1/requests/${encodeURIComponent(SIGNER.email)}`],
      ["GET", `/nowhere/${encodeURIComponent(SIGNER.mobile_phone_number)}?token=${SECRETS.wrongKey}`],
      ["POST", `/webhooks/oneshot/${SECRETS.wrongKey}${SECRETS.wrongKey}`, { request_pk: 1 }],
      ["POST", `/webhooks/oneshot/${SECRETS.webhook}`, { text: SIGNER.email }],
      ["POST", `/v1/requests/${success}/code`, { secret: SECRETS.wrongCode }],
      ["POST", `/v1/requests/${success}/code`, { secret: { nested: SECRETS.wrongCode } }],
      ["POST", `/v1/requests/${success}/refuse`, { reason: SECRETS.reason }],
      ["POST", `/v1/requests/${success}/refuse`, { reason: "", who: SIGNER.email }],
      [
        "POST",
        `/v1/requests/${success}/refuse`,
        `{"reason": "${SIGNER.email}`,
        { ...bearer, "content-type": "application/json" },
      ],
      ["POST", "/v1/requests", SIGNER],
      ["POST", "/v1/requests", formOf({ signer: { ...SIGNER, mobile_phone_number: SIGNER.email } })],
      ["POST", "/v1/requests", formOf({ signer: SIGNER })],
      ["POST", "/v1/requests", formOf(`{"signer": ${SIGNER.email}`)],
    ] as [string, string, unknown?, object?][]) {
      const answer = await call("problem", method, path, body, headers);
      expect(answer.status, `${method} ${path}`).toBeGreaterThanOrEqual(400);
    }

    // Redis takes another password while everything is connected, and the old one again.
    const before = count(main.stderr(), "redis-away");
    await inspector.config("SET", "requirepass", `${unique()}`);
    await inspector.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").catch(() => {});
    await expect.poll(() => count(main.stderr(), "redis-away"), { timeout: 15_000 }).toBeGreaterThan(before);
    const asked = ["/health/ready", "/v1/requests", `/v1/requests/${success}`, `/v1/requests/${success}/history`];
    for (let i = 0; i < 2; i++) await Promise.all(asked.map((path) => call("problem", "GET", path)));
    await inspector.config("SET", "requirepass", new URL(redis.url).password);
    await expect.poll(async () => (await call("health", "GET", "/health/ready")).status, { timeout: 20_000 }).toBe(200);

    // The command line, and everything that shows something.
    const onesOwn = [
      ["doctor"],
      ["doctor", "--tenant", "acme"],
      ["token", "list"],
      ["token", "create", "--configured", "--tenant", "acme", "--rao", "jose"],
    ];
    for (const args of [["list"], ["show", success], ["show", rejected], ...onesOwn]) {
      const cli = startSignpipe(args, { ...env, API_KEY: SECRETS.apiKey });
      await cli.ended;
      see("cli", args.join(" "), cli.stdout());
      see("stderr", `signpipe ${args.join(" ")}`, cli.stderr());
    }
    for (const id of [success, refused, rejected, external, dropped]) {
      await call("history", "GET", `/v1/requests/${id}/history`);
      await call("show", "GET", `/v1/requests/${id}`);
    }
    await call("list", "GET", "/v1/requests?limit=100");
    await call("list", "GET", "/v1/requests?reference=loan-1");
    await call("metrics", "GET", "/metrics");
    for (const path of ["/docs", "/openapi.json", "/health/live", "/health/ready"])
      await call("page", "GET", path, undefined, {});
    await seeBoard(call);
    const unusable = join(await temporary(), "tenants.json");
    const { raos, ...rest } = TENANTS.acme;
    const wrong = {
      ...rest,
      env: SECRETS.tenantToken,
      profile: 7,
      raos: { jose: { ...raos.jose, rao: SECRETS.tenantPin } },
    };
    for (const text of [JSON.stringify({ acme: wrong }), `{"acme": ${SECRETS.tenantPassword}`]) {
      writeFileSync(unusable, text);
      const cli = startSignpipe(["work"], { ...env, TENANTS_FILE: unusable });
      cli.ready.catch(() => {});
      expect(await cli.ended).toBe(1);
      see("stderr", "signpipe work with a wrong TENANTS_FILE", cli.stderr());
    }
    await expect.poll(() => caller.calls(), { timeout: 10_000 }).toBeGreaterThan(3);
    await look();
    keepFiles();

    // The same with the officer's other credentials, after a stop and a start.
    for (const line of processesBelow(main.child)) see("process", line.where, line.content);
    await main.stop();
    see("stderr", "signpipe start", main.stderr());
    see("stdout", "signpipe start", main.stdout());
    main = startSignpipe(["start"], { ...env, ONESHOT_RAO_TOKEN: "" });
    ({ api } = await main.ready);
    hook();
    const last = await submit();
    const lastPk = await identified(last);
    simulator.fault({
      operation: "approveVideoId",
      kind: "status-before",
      status: 503,
      body: echo(SECRETS.raoUser, SECRETS.raoPassword, SECRETS.raoPin),
    });
    await call("acting", "POST", `/v1/requests/${last}/approve`);
    await coded(last, lastPk);
    await call("history", "GET", `/v1/requests/${last}/history`);
    await look();
    keepFiles();
    await main.stop();
    see("stderr", "signpipe start, again", main.stderr());
    see("stdout", "signpipe start, again", main.stdout());
    await inspector.config("SET", "rdbcompression", "no");
    await inspector.save();
    const persisted = readFolder(redis.dir, (path) => (["redis.conf", "owner.json"].includes(path) ? "theirs" : "aof"));
    places.push(...persisted.filter(({ kind }) => kind === "aof"));

    // What was looked at is there at all: a search of nothing finds nothing.
    for (const kind of [
      "redis",
      "aof",
      "stderr",
      "stdout",
      "show",
      "list",
      "history",
      "problem",
      "metrics",
      "page",
      "board",
    ].concat([
      "cli",
      "status",
      "note",
      "evidence",
      "sidecar",
      "claim",
      "document",
      "download",
      "run.json",
      "journal",
    ])) {
      expect(
        places.some((place) => place.kind === kind),
        kind,
      ).toBe(true);
    }
    expect(persisted.some(({ where }) => where.endsWith("dump.rdb"))).toBe(true);
    const evidence = readJson(join(dataDir, "signed", dropped, "evidence.json"));
    expect(evidence).toMatchObject({ signer: SIGNER, documents: [{ name: NAME }] });
    const stderr = places.filter(({ kind }) => kind === "stderr");
    for (const word of ["callback failed", "stage will be retried", "redis-away", "invalid-input", "call answered"]) {
      expect(isThere(word, stderr), word).toBe(true);
    }
    expect(existsSync(join(dataDir, ".work", dropped))).toBe(false); // with the sidecar that named the signer
    expect(statSync(dataDir).mode & 0o077).toBe(0);

    expect(leaks(canaries, places)).toEqual([]);
  },
);

test("a wrong password of Redis is one clear sentence, without the password", async () => {
  const redis = await startOwnRedis();
  const [password, dataDir] = [`wrong-password-${unique()}`, await temporary()];
  const url = new URL(redis.url);
  url.password = password;
  for (const args of [["start"], ["work"], ["doctor"]]) {
    const cli = startSignpipe(args, {
      DATA_DIR: dataDir,
      REDIS_URL: url.href,
      ONESHOT_URL: "http://127.0.0.1:9/oneshot/api/v1",
      ONESHOT_RAO: "1400",
      ONESHOT_RAO_TOKEN: "token-of-nobody",
      API_PORT: "0",
      LOG_LEVEL: "trace",
    });
    expect(await cli.ended, args.join(" ")).toBe(1);
    const said = `${cli.stdout()}\n${cli.stderr()}`;
    expect(said).toMatch(/REDIS_URL/);
    expect(
      leaks([{ what: "the password", value: password }], [{ kind: "output", where: args.join(" "), content: said }]),
    ).toEqual([]);
    expect(said).not.toMatch(/\n\s+at .*\(/); // no stack
  }
});

test.skipIf(!existsSync("/proc/self/cmdline"))(
  "programs that are started get no secret, neither as an argument nor in the environment",
  async () => {
    const dataDir = await temporary();
    const given = { MASTER_KEY: SECRETS.masterKey, WEBHOOK_SECRET: SECRETS.webhook, API_KEYS: `crm:${SECRETS.apiKey}` };
    const main = startSignpipe(["start"], { DATA_DIR: dataDir, API_PORT: "0", ...given });
    await main.ready;
    const below = processesBelow(main.child);
    expect(below.map(({ content }) => content).join("\n")).toMatch(/simulate[^]*redis|redis[^]*simulate/);
    const { redis_url: redisUrl } = readJson(join(dataDir, "run.json")) as { redis_url: string };
    const canaries = [
      ...Object.entries(given).map(([what, value]) => ({ what, value: value.replace(/^crm:/, "") })),
      { what: "Redis' password", value: new URL(redisUrl).password },
    ];
    expect(leaks(canaries, below)).toEqual([]);
    expect(statSync(join(dataDir, "run.json")).mode & 0o077).toBe(0);
    await main.stop();
    expect(existsSync(join(dataDir, "run.json"))).toBe(false);
  },
);

interface Shown {
  state: string;
  waiting?: { for: string };
  failure?: { code: string };
  request_pk: number;
  videoid_link: string;
}
type Status = { state?: string; request_id?: string; waiting?: { for: string } };

/** What a file below DATA_DIR is. */
function kindOf(path: string): string {
  if (path === "run.json") return "run.json";
  if (path.endsWith("evidence.json")) return "evidence";
  if (path.startsWith("status/")) return "status";
  if (path.startsWith("journal/")) return "journal";
  if (/\.(error|duplicate)\.(txt|json)$/.test(path)) return "note";
  if (path.endsWith("claim.json")) return "claim";
  if (path.endsWith(".pdf")) return "document";
  if (/^(inbox|\.work|failed|duplicates)\/.*\.json$/.test(path)) return "sidecar";
  return "another file";
}

function drop(inbox: string, name: string, document: Uint8Array, sidecar: object): void {
  writeFileSync(join(inbox, `${name}.json`), JSON.stringify(sidecar));
  writeFileSync(join(inbox, name), document);
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8"));
}

function count(text: string, word: string): number {
  return text.split(word).length - 1;
}

async function temporary(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "signpipe-canary-"));
  onTestFinished(async ({ task }) => {
    if (task.result?.state !== "fail") await rm(dir, { recursive: true, force: true });
  });
  mkdirSync(dir, { recursive: true });
  return dir;
}

/** A PDF with the canary in it, where a search finds it. */
async function pdf(): Promise<Uint8Array> {
  const made = await PDFDocument.create();
  made.addPage([400, 300]).drawText(unique(), { x: 40, y: 200, size: 12 });
  made.context.register(PDFString.of(`${CONTENT} ${unique()}`));
  return await made.save({ useObjectStreams: false });
}

function formOf(manifest: unknown): FormData {
  const form = new FormData();
  form.set("manifest", typeof manifest === "string" ? manifest : JSON.stringify(manifest));
  form.append("file", new Blob([`%PDF-1.7 ${SIGNER.email}`], { type: "application/pdf" }), NAME);
  return form;
}

/** A caller who never gets as far as reading: every connection is ended at once. */
async function startDeafCaller() {
  let calls = 0;
  const server = createServer((socket) => {
    calls += 1;
    socket.on("error", () => {});
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, calls: () => calls };
}

/** The board as somebody sees who is logged in: its page, and for every queue what its JSON says of every state. */
async function seeBoard(
  call: (
    kind: string,
    method: string,
    path: string,
    body?: unknown,
    headers?: object,
  ) => Promise<{ headers: Headers; text: string }>,
): Promise<void> {
  const form = { "content-type": "application/x-www-form-urlencoded" };
  const wrong = new URLSearchParams({ key: SECRETS.wrongKey }).toString();
  await call("board", "POST", "/queues/login", wrong, form);
  const login = await call(
    "board",
    "POST",
    "/queues/login",
    new URLSearchParams({ key: SECRETS.otherKey }).toString(),
    form,
  );
  const cookie = (login.headers.get("set-cookie") ?? "").split(";")[0] ?? "";
  await call("board", "GET", "/queues", undefined, { cookie });
  const { text } = await call("board", "GET", "/queues/api/queues", undefined, { cookie });
  const { queues } = JSON.parse(text) as { queues: { name: string }[] };
  expect(queues.length).toBeGreaterThan(8);
  for (const { name } of queues) {
    for (const status of ["failed", "delayed", "waiting", "completed"]) {
      const page = await call(
        "board",
        "GET",
        `/queues/api/queues?activeQueue=${name}&status=${status}&page=1`,
        undefined,
        { cookie },
      );
      const { queues: shown } = JSON.parse(page.text) as { queues: { name: string; jobs: { id: string }[] }[] };
      for (const { id } of shown.find((queue) => queue.name === name)?.jobs ?? []) {
        await call("board", "GET", `/queues/api/queues/${name}/${id}`, undefined, { cookie });
        await call("board", "GET", `/queues/api/queues/${name}/${id}/logs`, undefined, { cookie });
      }
    }
  }
}

/** Every process that descends from `child`: its command line, and its environment where it may be read. */
function processesBelow(child: ChildProcess): Place[] {
  const parents = new Map<number, number>();
  for (const name of existsSync("/proc") ? readdirSync("/proc") : []) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    } catch {
      // It ended while we looked.
    }
  }
  const isBelow = (pid: number | undefined): boolean =>
    pid !== undefined && pid !== 0 && (parents.get(pid) === child.pid || isBelow(parents.get(pid)));
  return [...parents.keys()].filter(isBelow).map((pid) => ({
    kind: "process",
    where: `${pid}`,
    content: Buffer.concat([
      readFileSync(`/proc/${pid}/cmdline`),
      Buffer.from("\n"),
      readFileSync(`/proc/${pid}/environ`),
    ]),
  }));
}

/** Runs a command of signpipe as a user would, with nothing in its environment but what is given. */
function startSignpipe(args: string[], given: Record<string, string>) {
  const env = { PATH: process.env["PATH"], HOME: process.env["HOME"], ...given };
  const cwd = new URL("../../", import.meta.url).pathname;
  const child = spawn(process.execPath, ["src/cli.ts", ...args], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  const said = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (said.stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (said.stderr += chunk.toString()));
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const ready = new Promise<{ api: string }>((resolve, reject) => {
    createInterface({ input: child.stdout }).once("line", (line) => {
      if (line.startsWith("{")) resolve(JSON.parse(line) as { api: string });
    });
    void ended.then((code) =>
      reject(new Error(`signpipe ${args.join(" ")} ended with ${code}: ${said.stderr.slice(-2_000)}`)),
    );
  });
  ready.catch(() => {});
  onTestFinished(async ({ task }) => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await ended;
    }
    if (task.result?.state === "fail") process.stderr.write(said.stderr.slice(-3_000));
  });
  return {
    child,
    ready,
    ended,
    stdout: () => said.stdout,
    stderr: () => said.stderr,
    async stop(): Promise<void> {
      child.kill("SIGTERM");
      await ended;
    },
  };
}
