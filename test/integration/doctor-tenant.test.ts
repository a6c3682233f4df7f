import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { describe, expect, onTestFinished, test } from "vitest";
import { type SimulatorOptions, startSimulator } from "../../src/simulator/index.ts";
import { runCommand } from "../helpers/cli-house.ts";
import { startHouse } from "../helpers/house.ts";

const TOKEN = "3bf8d8eb-d96c-41ea-83ad-d78a7016c7da";
const LOGIN = {
  ONESHOT_RAO: "1400",
  ONESHOT_RAO_USERNAME: "9001800",
  ONESHOT_RAO_PASSWORD: "canary-password",
  ONESHOT_RAO_PIN: "canary-pin",
};

interface Told {
  ok: boolean;
  tenant: string;
  findings: { check: string; level: string; says: string; todo?: string }[];
  open_questions: { question: string; answer: string | null; source: string }[];
}

/** The report about a server, as JSON. */
async function examine(url: string, env: Record<string, string> = LOGIN, tenant = "default") {
  const all = { ONESHOT_URL: url, DATA_DIR: "/nowhere/signpipe", ...env };
  const { exitCode, out, err } = await runCommand(["doctor", "--tenant", tenant, "--json"], { env: all });
  if (out === "") throw new Error(err);
  const report = JSON.parse(out) as Told;
  return {
    ...report,
    exitCode,
    text: out,
    levelOf: (check: string) => report.findings.find((one) => one.check === check)?.level,
    saysOf: (check: string) => report.findings.find((one) => one.check === check)?.says,
    answerTo: (words: RegExp) => report.open_questions.find(({ question }) => words.test(question))?.answer,
  };
}

async function simulated(options: SimulatorOptions = {}) {
  const simulator = await startSimulator(options);
  onTestFinished(() => simulator.close());
  return simulator;
}

interface Call {
  method: string;
  path: string;
  body: string;
}

/** A server that a test writes; what reached it is in `calls`. */
async function served(answer: (call: Call) => { status: number; body?: unknown; type?: string; allow?: string }) {
  const calls: Call[] = [];
  const server = createServer((request: IncomingMessage, response) => {
    void (async () => {
      let body = "";
      for await (const chunk of request as AsyncIterable<Buffer>) body += chunk.toString();
      const call = { method: request.method ?? "", path: request.url ?? "", body };
      calls.push(call);
      const { status, body: said = {}, type = "application/json", allow } = answer(call);
      const text = typeof said === "string" ? said : JSON.stringify(said);
      response.writeHead(status, { "content-type": type, ...(allow && { allow }) }).end(text);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/oneshot/api/v1`, calls };
}

describe("doctor --tenant, at a server of the newest generation", () => {
  test.each<[string, SimulatorOptions, Record<string, RegExp | null>]>([
    [
      "that words refusals with status and message",
      {},
      {
        "refusals worded":
          /^an unknown request: 404 \{"status":"error","message":…\}; an unknown path: 404 \{"detail":…\}$/,
        "identification approved": /^\/videoid\/\{pk\}\/approve$/,
        "signed documents": /seed.*reference/,
        "Are images listed": /^yes$/,
        "Are tokens listed": /^yes: \d+$/,
        "successes worded": /^200 \{"status":"success","details":/,
        "a hello": /^no such call$/,
        "before the approval": null,
      },
    ],
    [
      "that words them with detail",
      { errorStyle: "fastapi", retrieval: "seed" },
      {
        "refusals worded": /^an unknown request: 404 \{"detail":…\}/,
        "signed documents": /^\/document\/\{pk\}\/signed\/\{uid\} \(seed\)$/,
      },
    ],
    [
      "that hides them in a 400",
      { errorStyle: "old", notFoundAs400: true, retrieval: "reference" },
      {
        "refusals worded": /^an unknown request: 400 \{"status":"404 Not Found","details":…\}/,
        "signed documents": /^\/document\/\{pk\}\/\{uid\}\?document_type=signed \(reference\)$/,
      },
    ],
  ])("%s, tells what it answers and does nothing there", async (_what, options, answers) => {
    const simulator = await simulated(options);
    const report = await examine(simulator.url);
    expect(report.findings.filter(({ level }) => level === "fail")).toEqual([]);
    expect([report.exitCode, report.ok, report.tenant]).toEqual([0, true, "default"]);
    expect(report.saysOf("Base path")).toBe("the API is under /oneshot/api/v1, the newest generation's");
    for (const [words, answer] of Object.entries(answers)) {
      const told = report.answerTo(new RegExp(words));
      if (answer === null) expect(told).toBeNull();
      else expect(told).toMatch(answer);
    }
    expect(simulator.ledger).toEqual([]);
    expect(report.text).not.toContain("canary");
  });

  test("says when ONESHOT_RETRIEVAL names the form that is not there", async () => {
    const simulator = await simulated({ retrieval: "seed" });
    const report = await examine(simulator.url, { ...LOGIN, ONESHOT_RETRIEVAL: "reference" });
    expect([report.exitCode, report.levelOf("Retrieval")]).toEqual([1, "fail"]);
    expect((await examine(simulator.url, { ...LOGIN, ONESHOT_RETRIEVAL: "seed" })).exitCode).toBe(0);
  });

  test("tells of a token that is known, that lacks a PIN, and that is not there", async () => {
    const simulator = await simulated();
    const make = async (credentials: object) => {
      const answer = await fetch(`${simulator.url}/token`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(credentials),
      });
      return ((await answer.json()) as { details: { token_uid: string } }).details.token_uid;
    };
    const whole = await make({ username: "1", password: "p", pin: "q" });
    const half = await make({ username: "2", password: "p" });
    const told = async (token: string) => {
      const report = await examine(simulator.url, { ONESHOT_RAO: "1400", ONESHOT_RAO_TOKEN: token });
      expect(report.text).not.toContain(token);
      return [report.levelOf("Token"), report.saysOf("Token")];
    };
    expect(await told(whole)).toEqual(["ok", "that of RAO default (1400) is known"]);
    expect(await told(half)).toEqual(["fail", expect.stringContaining("was stored without PIN")]);
    expect(await told(TOKEN)).toEqual(["fail", "That of RAO default (1400) is not known there."]);
  });
});

test("doctor --tenant, at a server of the first generation, tells that nothing can be approved there, and where to go", async () => {
  const simulator = await simulated();
  const report = await examine(simulator.url.replace("/oneshot/api/v1", "/api/v1"));
  expect(report.findings.filter(({ level }) => level === "fail")).toEqual([
    {
      check: "Approval",
      level: "fail",
      says: "There is no POST /videoid/{videoid_pk}/approve, but /request/{pk}/approve, /requests/{pk}/approve.",
      todo: `Set ONESHOT_URL to ${simulator.url}, where the newest generation is.`,
    },
  ]);
  expect(report.answerTo(/generation/)).toBe("/api/v1, the first generation's, and /oneshot/api/v1 as well");
  expect(report.answerTo(/refusals worded/)).toMatch(
    /^an unknown request: 400 \{"status":"404 Not Found","details":…\}/,
  );
  expect(report.answerTo(/successes worded/)).toBe('200 {"status":"200 OK","details":{…}}');
  expect(report.answerTo(/signed documents/)).toMatch(/\(seed\)$/);
  expect(report.answerTo(/the version told/)).toMatch(/^yes: OneShot Optimizer/);
  expect(report.answerTo(/a hello/)).toBe("yes");
  expect(simulator.ledger).toEqual([]);
});

test("a request that waits for its approval tells whether the contract is there before it", async () => {
  const house = await startHouse({ simulator: { humans: { signer: "auto" } } });
  const id = await house.submit();
  await house.waits(id, "approval");
  const { DATA_DIR, REDIS_PREFIX } = house.app.settings;
  const env = { ...LOGIN, DATA_DIR, REDIS_PREFIX, REDIS_URL: house.redisUrl };
  const report = await examine(house.oneshotUrl, env);
  expect(report.answerTo(/before the approval/)).toMatch(/^no: 4\d\d \{/);
  expect(await house.app.store.get(id)).toMatchObject({ stage: "approve", phase: "waiting" });
  const broken = await examine(house.oneshotUrl, { ...env, TENANTS_FILE: "/nowhere" }).catch((error: Error) => error);
  expect(broken).toMatchObject({
    exitCode: 1,
    findings: [{ level: "fail", says: expect.stringContaining("TENANTS_FILE: the file cannot be read") }],
  });
});

const UNKNOWN = { status: 404, body: { detail: "Not Found" } };
const NO_REQUEST = { status: 404, body: { detail: "Request matching query does not exist" } };

describe("doctor --tenant never asks for an approval that could be one", () => {
  test("where a read tells that the path is there, nothing is sent to it", async () => {
    const { url, calls } = await served(({ method, path }) =>
      path.endsWith("/videoid/0/approve") && method === "GET"
        ? { status: 405, allow: "POST" }
        : path.endsWith("/request/0")
          ? NO_REQUEST
          : UNKNOWN,
    );
    const report = await examine(url);
    expect(report.levelOf("Approval")).toBe("ok");
    expect(calls.filter(({ method }) => method !== "GET")).toEqual([]);
  });

  test("where it does not, the only call is for identification 0, without credentials", async () => {
    const { url, calls } = await served(({ method, path }) =>
      path.endsWith("/videoid/0/approve") && method === "POST"
        ? { status: 422, body: { detail: [{ loc: ["body", "rao"], msg: "field required" }] } }
        : path.endsWith("/request/0")
          ? NO_REQUEST
          : UNKNOWN,
    );
    const report = await examine(url);
    expect([report.levelOf("Approval"), report.answerTo(/identification approved/)]).toEqual([
      "ok",
      "/videoid/{pk}/approve",
    ]);
    const sent = calls.filter(({ method }) => method !== "GET");
    expect(
      sent.map(({ method, path, body }) => `${method} ${path.replace(/signpipe-doctor-\w+/, "…")} ${body}`),
    ).toEqual(["POST /oneshot/api/v1/videoid/0/approve {}", "POST /oneshot/api/v1/… {}"]);
    expect(JSON.stringify(calls)).not.toContain("canary");
  });

  test.each([
    ["is not there", () => UNKNOWN, "fail", /There is no POST \/videoid\/\{videoid_pk\}\/approve\.$/],
    [
      "is the first generation's",
      ({ path }: Call) =>
        /\/0\/approve$/.test(path) && !path.includes("videoid") ? { status: 405, allow: "POST" } : UNKNOWN,
      "fail",
      /but \/request\/\{pk\}\/approve, \/requests\/\{pk\}\/approve\.$/,
    ],
    [
      "answers success to nobody's approval",
      ({ method, path }: Call) => (method === "POST" && path.endsWith("approve") ? { status: 200 } : UNKNOWN),
      "fail",
      /An approval of nobody/,
    ],
  ] as const)("a path that %s is told", async (_what, answer, level, says) => {
    const { url } = await served((call) => (call.path.endsWith("/request/0") ? NO_REQUEST : answer(call)));
    const report = await examine(url);
    expect(report.levelOf("Approval")).toBe(level);
    expect(report.saysOf("Approval")).toMatch(says);
  });
});

test("a wrong base path is told, with the right one", async () => {
  const { url } = await served(({ path }) => (path === "/api/v1/request/0" ? NO_REQUEST : UNKNOWN));
  const report = await examine(url);
  expect([report.exitCode, report.levelOf("Base path"), report.levelOf("Approval")]).toEqual([1, "fail", undefined]);
  expect(report.findings.find(({ check }) => check === "Base path")?.todo).toMatch(
    /^Set ONESHOT_URL to .*\/api\/v1\.$/,
  );
  expect(report.answerTo(/generation/)).toBe("/api/v1");
});

describe("doctor --tenant, over TLS", () => {
  /** A server with a certificate of its own for `days`. */
  async function secured(days: number) {
    const dir = mkdtempSync(join(tmpdir(), "signpipe-tls-"));
    const [key, cert] = [join(dir, "key"), join(dir, "cert")];
    const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
    execFileSync(
      "openssl",
      [
        ...["req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", key, "-out", cert],
        "-days",
        String(days),
        ...subject,
      ],
      { stdio: "ignore" },
    );
    const pem = readFileSync(cert, "utf8");
    const server = createSecureServer({ key: readFileSync(key), cert: pem }, (request, response) => {
      const { status, body } = request.url?.endsWith("/request/0") ? NO_REQUEST : UNKNOWN;
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      server.close();
      rmSync(dir, { recursive: true });
    });
    return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/oneshot/api/v1`, pem };
  }

  test("a certificate that is not trusted is told", async () => {
    const report = await examine((await secured(90)).url);
    expect(report.saysOf("Provider")).toMatch(/cannot be reached \(DEPTH_ZERO_SELF_SIGNED_CERT\)\.$/);
  });

  test.each([
    [90, "ok"],
    [10, "warn"],
  ] as const)("one that is good for %d days is %s", async (days, level) => {
    const { url, pem } = await secured(days);
    const before = getCACertificates();
    setDefaultCACertificates([...before, pem]);
    onTestFinished(() => setDefaultCACertificates(before));
    const report = await examine(url);
    expect([report.levelOf("TLS"), report.saysOf("TLS")]).toEqual([
      level,
      expect.stringMatching(/^TLSv1\.3, a certificate that is trusted here, for \d+ d more$/),
    ]);
  });
});

test("doctor shows every tenant without anything secret, and warns of a file that others may read", async () => {
  const dir = mkdtempSync(join(tmpdir(), "signpipe-doctor-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "tenants.json");
  const raos = {
    maria: { rao: 1400, token: "canary-token" },
    jose: { rao: 1401, username: "canary-user", password: "canary-password", pin: "canary-pin" },
  };
  const acme = { env: "prod", registration_authority: 139, billing_username: "canary-billing", raos };
  const look = async (tenants: object, mode: number) => {
    writeFileSync(path, JSON.stringify(tenants));
    chmodSync(path, mode);
    const env = { DATA_DIR: dir, TENANTS_FILE: path, ONESHOT_URL: "http://127.0.0.1:1", ...LOGIN };
    const { out } = await runCommand(["doctor", "--json"], { env });
    expect(out).not.toContain("canary");
    return (JSON.parse(out) as Told).findings
      .filter(({ check }) => check === "Tenants")
      .map(({ level, says }) => `${level}: ${says}`);
  };
  const shown = [
    "ok: default: RA of the Optimizer, profile of the Optimizer, billing of the Optimizer, RAO default (1400, by password)",
    "ok: acme: prod, RA 139, profile of the Optimizer, billing account set, RAO maria (1400, by token), jose (1401, by password)",
  ];
  expect(await look({ acme }, 0o600)).toEqual(shown);
  expect(await look({ acme }, 0o644)).toEqual([
    ...shown,
    "fail: TENANTS_FILE has secrets in it and can be read by others on this machine.",
  ]);
  expect(
    await look({ acme: { ...acme, raos: { maria: { rao: 1400, token_file: "/nowhere/canary" } } } }, 0o600),
  ).toEqual([
    "warn: TENANTS_FILE: acme.raos.maria.token_file names a file that cannot be read (docs/configuration.md).",
  ]);
});

test("a server that cannot be reached is told, and nothing else is asked", async () => {
  const report = await examine("http://127.0.0.1:1/oneshot/api/v1");
  expect(report.findings.map(({ check, level }) => [check, level])).toEqual([
    ["Tenant", "ok"],
    ["Provider", "fail"],
  ]);
  expect(report.exitCode).toBe(1);
});

test("what the server says is never shown, only its form", async () => {
  const said = "Ana Canary <script> \u001b[31m";
  const { url } = await served(({ path }) => ({
    status: path.includes("doctor") ? 404 : 400,
    body: { status: said, [said]: said, detail: said },
  }));
  const { text } = await examine(url);
  expect(text).not.toMatch(/Ana Canary|<script>|\\u001b/);
});

test("a tenant that there is not is refused, with those that are", async () => {
  const { exitCode, err } = await runCommand(["doctor", "--tenant", "acme"], {
    env: { ONESHOT_URL: "http://127.0.0.1:1", ...LOGIN, DATA_DIR: "/nowhere" },
  });
  expect([exitCode, err]).toEqual([1, 'signpipe: There is no tenant "acme": there are default.\n']);
});

test("every question names a section of docs/provider.md that is there", async () => {
  const simulator = await simulated();
  const headings = [...readFileSync("docs/provider.md", "utf8").matchAll(/^#+ (.*)$/gm)].map(
    ([, heading = ""]) => heading,
  );
  for (const { source } of (await examine(simulator.url)).open_questions) {
    expect(
      headings.some((heading) => heading.startsWith(source.slice(1))),
      source,
    ).toBe(true);
  }
});
