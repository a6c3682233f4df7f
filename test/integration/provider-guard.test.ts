import { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import { RequestPk, VideoIdPk } from "../../src/core/signing.ts";
import { createProvider } from "../../src/provider/client.ts";
import type { Guard, Heard, Leaving } from "../../src/provider/guard.ts";
import { ACCOUNT, listen, PDF, type Reply, startServer } from "./provider-server.ts";

const PK = RequestPk.parse(4711);
const VIDEO = VideoIdPk.parse(12);

/** A guard that lets everything pass and remembers what it was told. */
function listening(instead?: Error) {
  const heard: Heard[] = [];
  const leaving: Leaving[] = [];
  const guard: Guard = {
    admit: async (one) => void leaving.push(one),
    async heard(_leaving, how) {
      heard.push(how);
      return instead as RetryableError | undefined;
    },
  };
  return { guard, heard, leaving };
}

const short = (how: Heard) =>
  [how.kind, "waitMs" in how ? how.waitMs : "", "failure" in how ? (how.failure?.code ?? "") : ""]
    .filter(Boolean)
    .join(" ");

const ANSWERS: [string, Reply, string][] = [
  ["a success", { body: { status: "success", message: "sent" } }, "answer"],
  ["a fault", { status: 500, body: { message: "Traceback" } }, "fault"],
  ["a gateway without its server", { status: 502, body: "<html>Bad Gateway</html>" }, "fault"],
  ["a fault that says who we are", { status: 500, body: { details: "RAO 7 does not exist" } }, "answer rao-rejected"],
  ["a refusal", { status: 400, body: { details: "Enter a valid email address." } }, "answer invalid-input"],
  ["an error inside a success", { status: 200, body: { status: "error", details: "odd" } }, "answer provider-error"],
  ["a call for a pause", { status: 429, headers: { "retry-after": "7" }, body: {} }, "busy 7000 rate-limited"],
  [
    "a pause without end",
    { status: 503, headers: { "retry-after": "999999" }, body: {} },
    "busy 900000 provider-error",
  ],
  ["a pause of nothing", { status: 503, headers: { "retry-after": "0" }, body: {} }, "busy 1000 provider-error"],
  ["too many, for how long is not said", { status: 429, body: {} }, "answer rate-limited"],
  [
    "a code that was asked for too soon, which is one phone's matter",
    { status: 429, headers: { "retry-after": "60" }, body: { message: "OTP was sent less than a minute ago" } },
    "answer otp-too-soon",
  ],
  ["a hang-up", (response) => void response.destroy(), "fault"],
  [
    "an answer that breaks off",
    (response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("{");
      setTimeout(() => response.destroy(), 20);
    },
    "fault",
  ],
];

describe("the guard is told of", () => {
  test.each(ANSWERS)("%s", async (_name, reply, wanted) => {
    const { guard, heard, leaving } = listening();
    const { provider } = await startServer(reply, { guard });
    await provider.otp(PK).catch(() => {});
    expect(heard.map(short)).toEqual([wanted]);
    expect(leaving).toHaveLength(1);
  });

  test("a port where nobody listens", async () => {
    const { guard, heard } = listening();
    const provider = createProvider({ url: "http://127.0.0.1:1/oneshot", guard });
    await expect(provider.otp(PK)).rejects.toMatchObject({ code: "unreachable" });
    expect(heard.map(short)).toEqual(["fault"]);
    await provider.close();
  });

  test("a call that we stopped, or whose file we could not read: that says nothing of the provider", async () => {
    const { guard, heard } = listening();
    const { provider } = await startServer(() => {}, { guard });
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 50);
    await provider.otp(PK, { signal: stop.signal }).catch(() => {});
    const unreadable = {
      name: "a.pdf",
      sizeBytes: 10,
      sha256: "0".repeat(64),
      open: () =>
        new Readable({
          read() {
            this.destroy(new Error("gone"));
          },
        }),
    };
    await provider.upload(PK, [unreadable]).catch(() => {});
    expect(heard.map(short)).toEqual(["nothing", "nothing"]);
  });

  test("a download once, by its head or by what it was refused with", async () => {
    const { guard, heard } = listening();
    const { provider } = await startServer([{ body: PDF }, { status: 404, body: { details: "Document not found" } }], {
      guard,
    });
    const { body } = await provider.contract(PK);
    for await (const chunk of body) expect(chunk).toBeDefined();
    await provider.contract(PK).catch(() => {});
    expect(heard.map(short)).toEqual(["answer", "answer not-found"]);
  });
});

test("a call that the guard keeps back never leaves, and what the guard gives back is thrown", async () => {
  const closed = new RetryableError("calls wait", { code: "provider-paused", pause: {} });
  const { calls, provider } = await startServer(
    { body: {} },
    { guard: { admit: () => Promise.reject(closed), heard: async () => undefined } },
  );
  await expect(provider.otp(PK)).rejects.toBe(closed);
  await expect(provider.contract(PK)).rejects.toBe(closed);
  expect(calls).toEqual([]);
  expect(await provider.ping()).toMatchObject({ reachable: true }); // the probe itself is not asked
  const instead = new RetryableError("stands still", {
    code: "rao-rejected",
    pause: { until: "accepted RAO credentials" },
  });
  const rejected = await startServer(
    { status: 403, body: { details: "Invalid RAO credentials" } },
    { guard: listening(instead).guard },
  );
  await expect(rejected.provider.approve(VIDEO, ACCOUNT.rao)).rejects.toBe(instead);
});

test("credentials travel with the calls that carry them, and with no others", async () => {
  const { guard, leaving } = listening(new PermanentError("x", { code: "x" }));
  const { provider } = await startServer({ status: 400, body: {} }, { guard });
  const signer = { email: "ana@example.com", mobile_phone_number: "+34699999999" };
  await provider.createVideoId(signer, ACCOUNT).catch(() => {});
  await provider.approve(VIDEO, ACCOUNT.rao).catch(() => {});
  await provider.refuse(VIDEO, ACCOUNT.rao, "no").catch(() => {});
  await provider.otp(PK).catch(() => {});
  await provider.cancel(PK).catch(() => {});
  const { rao, username, password, pin } = ACCOUNT.rao;
  const officer = { lane: "rao", secrets: [rao, username, password, pin] };
  expect(leaving.map(({ credentials }) => credentials)).toEqual([
    { lane: "billing", secrets: [ACCOUNT.billingUsername, ACCOUNT.billingPassword] },
    officer,
    officer,
    undefined,
    undefined,
  ]);
});

describe("an answer is bounded", () => {
  test("in where it leads: nobody is called at the place of a redirect, with our credentials or without", async () => {
    const visits: string[] = [];
    const elsewhere = await listen((request, response) => {
      visits.push(request.url ?? "");
      response.end("{}");
    });
    for (const status of [301, 302, 303, 307, 308]) {
      const { provider } = await startServer({ status, headers: { location: `${elsewhere}/here` } });
      for (const call of [provider.approve(VIDEO, ACCOUNT.rao), provider.getRequest(PK), provider.contract(PK)]) {
        await expect(call).rejects.toMatchObject({ code: "redirected" });
      }
    }
    expect(visits).toEqual([]);
  });

  test("in size: a body that does not end is not read to its end", async () => {
    let sentBytes = 0;
    const { provider } = await startServer((response) => {
      const chunk = Buffer.alloc(64 * 1024, 0x20);
      const more = (): void => {
        while (!response.destroyed && sentBytes < 1024 ** 3) {
          sentBytes += chunk.length;
          if (!response.write(chunk)) return void response.once("drain", more);
        }
      };
      response.writeHead(200, { "content-type": "application/json" });
      more();
    });
    await expect(provider.getRequest(PK)).rejects.toMatchObject({ code: "unexpected-answer" });
    expect(sentBytes).toBeLessThan(64 * 1024 ** 2);
  });

  test("in time: a byte now and then does not keep a call alive", async () => {
    const { provider } = await startServer(
      (response) => {
        response.writeHead(200, { "content-type": "application/json" });
        void (async () => {
          while (!response.destroyed) {
            response.write(" ");
            await pause(50);
          }
        })();
      },
      { timeoutsMs: { call: 400 } },
    );
    const before = performance.now();
    await expect(provider.getRequest(PK)).rejects.toMatchObject({ code: "no-answer" });
    expect(performance.now() - before).toBeLessThan(2_000);
  });
});
