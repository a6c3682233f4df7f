import fc from "fast-check";
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { expect, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import type { DocumentUid, RequestPk, VideoIdPk } from "../../src/core/signing.ts";
import { createProvider, type Provider } from "../../src/provider/client.ts";
import { SEED } from "../helpers/property.ts";
import { ACCOUNT } from "../integration/provider-server.ts";
import { type Asked, hostile, type Hostile, saysNothingWasDone, startHostile } from "./hostile-answers.ts";

const RUNS = 600;
const PK = 1012632 as RequestPk;
const VIDEOID = 16673 as VideoIdPk;
const UID = "604b889f-0000-4000-8000-000000000001" as DocumentUid;
const FILE = Buffer.from(`%PDF-1.7\n${"y".repeat(2_000)}\n%%EOF\n`);
const TIMEOUTS_MS = { call: 500, sign: 500, transferIdle: 400, transferTotal: 800 };
const DOCUMENT_MOST = 256 << 10;
/** What a slow machine may add to a timeout. */
const PATIENCE_MS = 8_000;
/** A megabyte of answer, what is read ahead, and what the kernel holds on both sides. */
const TAKEN_MOST = 32 << 20;

const files = [{ name: "Anacanary.pdf", sizeBytes: FILE.length, open: () => Readable.from([FILE]) }];
const update = {
  scratchcard: "1",
  email: "ana.canary@example.com",
  profile: "P",
  registration_authority: "1",
  country_name: "ES",
};
const CALL = {
  createVideoId: (p: Provider) =>
    p.createVideoId({ email: "ana.canary@example.com", mobile_phone_number: "+34699999999" }, ACCOUNT),
  getRequest: (p: Provider) => p.getRequest(PK),
  updateRequest: (p: Provider) => p.updateRequest(PK, update),
  approve: (p: Provider) => p.approve(VIDEOID, ACCOUNT.rao),
  refuse: (p: Provider) => p.refuse(VIDEOID, ACCOUNT.rao, "reason-canary"),
  cancel: (p: Provider) => p.cancel(PK),
  upload: (p: Provider) => p.upload(PK, files),
  deleteDocument: (p: Provider) => p.deleteDocument(PK, UID),
  deleteDocuments: (p: Provider) => p.deleteDocuments(PK),
  contract: async (p: Provider) => buffer((await p.contract(PK)).body),
  signedDocument: async (p: Provider) => buffer((await p.signedDocument(PK, UID)).body),
  originalDocument: async (p: Provider) => buffer((await p.originalDocument(PK, UID)).body),
  otp: (p: Provider) => p.otp(PK),
  sign: (p: Provider) => p.sign(PK, { secret: "052174" }),
} as const satisfies Record<string, (provider: Provider) => Promise<unknown>>;
type Name = keyof typeof CALL;

function askedBy(name: Name): Asked {
  if (name === "createVideoId") return "creation";
  if (name === "getRequest") return "request";
  if (name === "upload") return "uids";
  return name === "contract" || (name.endsWith("Document") && !name.startsWith("delete")) ? "pdf" : "nothing";
}

const NAMES = Object.keys(CALL) as Name[];
const READS: ReadonlySet<Name> = new Set(["getRequest", "contract", "signedDocument", "originalDocument"]);
const CANARIES = /ana\.?canary|reason-canary|052174|password-canary|pin-canary|pass\+canary/i;

function isCount(value: unknown): boolean {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}

/** Whether what a call gave is what it promises, taken from the answer and from nowhere else. */
function isPromised(name: Name, given: unknown, answer: Hostile): boolean {
  const text = answer.body.toString("utf8");
  switch (name) {
    case "createVideoId": {
      const { requestPk, videoidPk, videoidLink } = given as Record<string, unknown>;
      const isLink = videoidLink === undefined || /^https?:\/\//.test(videoidLink as string);
      return isCount(requestPk) && isCount(videoidPk) && isLink && text.includes(String(requestPk));
    }
    case "getRequest": {
      const { status, requestPk } = given as Record<string, unknown>;
      return typeof status === "string" && status !== "" && requestPk === PK;
    }
    case "upload":
      return Array.isArray(given) && given.length === 1 && /^[\w-][\w.-]*$/.test(given[0] as string);
    case "contract":
    case "signedDocument":
    case "originalDocument":
      return (given as Buffer).includes("%PDF-") && (given as Buffer).length <= DOCUMENT_MOST;
    case "deleteDocument":
    case "deleteDocuments":
      return given === "deleted" || given === "absent";
    case "sign":
      return given === "signed" || given === "accepted";
    default:
      return given === undefined;
  }
}

test("every answer to every call is a success with what it promises, or a failure with a known code and a true effect", async () => {
  const known = new Set(
    [...readFileSync("docs/operations.md", "utf8").matchAll(/`([a-z][a-zA-Z-]+)`/g)].map(([, code]) => code),
  );
  const server = await startHostile();
  const provider = createProvider({
    url: `${server.url}/oneshot/api/v1`,
    timeoutsMs: TIMEOUTS_MS,
    maxDocumentBytes: DOCUMENT_MOST,
  });
  const cases = fc.constantFrom(...NAMES).chain((name) => fc.tuple(fc.constant(name), hostile(askedBy(name))));
  const outcomes = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(cases, async ([name, answer]) => {
      server.say(answer);
      const startedMs = performance.now();
      const call: Promise<unknown> = CALL[name](provider);
      const outcome = await call.then(
        (given) => ({ given }),
        (error: unknown) => ({ error }),
      );
      expect(performance.now() - startedMs).toBeLessThan(TIMEOUTS_MS.transferTotal * 2 + PATIENCE_MS);
      expect(server.sentBytes()).toBeLessThan(TAKEN_MOST);
      const isReached = server.arrived() > 0;
      if ("given" in outcome) {
        outcomes.set(`${name} ok`, (outcomes.get(`${name} ok`) ?? 0) + 1);
        const isAbsent = outcome.given === "absent"; // an error that says what was wanted
        expect(answer.status >= 200 && (answer.status < 300 || isAbsent)).toBe(true);
        expect(isPromised(name, outcome.given, answer)).toBe(true);
        return;
      }
      const { error } = outcome;
      if (!(error instanceof RetryableError || error instanceof PermanentError)) throw error;
      outcomes.set(error.code, (outcomes.get(error.code) ?? 0) + 1);
      expect(known).toContain(error.code);
      expect(error.message).not.toMatch(CANARIES);
      expect(error.message.length).toBeLessThanOrEqual(250);
      if (READS.has(name)) expect(error.effect).toBe("none");
      else if (isReached && error.effect === "none") expect(saysNothingWasDone(answer)).toBe(true);
      if (error instanceof RetryableError && error.retryAfterMs !== undefined) {
        expect(error.retryAfterMs).toBeGreaterThanOrEqual(1_000);
        expect(error.retryAfterMs).toBeLessThanOrEqual(15 * 60_000);
      }
    }),
    { numRuns: RUNS, seed: SEED },
  );
  await provider.close();
  // The fuzz is no good when nothing ever succeeds, or when all fails in one way.
  expect(NAMES.filter((name) => !outcomes.has(`${name} ok`))).toEqual([]);
  expect(outcomes.size).toBeGreaterThan(NAMES.length + 10);
});
