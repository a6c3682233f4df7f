import fc from "fast-check";
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { expect, test } from "vitest";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import { createProvider, type Provider } from "../../src/provider/client.ts";
import { SEED } from "../helpers/property.ts";
import { MORE_CALLS, PK, UID, VIDEOID } from "../integration/provider-samples.ts";
import { ACCOUNT } from "../integration/provider-server.ts";
import { type Asked, hostile, type Hostile, plain, saysNothingWasDone, startHostile } from "./hostile-answers.ts";

const RUNS = 600;
const FILE = Buffer.from(`%PDF-1.7\n${"y".repeat(2_000)}\n%%EOF\n`);
const TIMEOUTS_MS = { call: 500, sign: 500, transferIdle: 400, transferTotal: 800 };
const DOCUMENT_MOST = 256 << 10;
const IMAGE_MOST = 64 << 20;
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
  ...MORE_CALLS,
} as const satisfies Record<string, (provider: Provider) => Promise<unknown>>;
type Name = keyof typeof CALL;

/** What is asked for by each call that asks for anything. */
const ASKED: Partial<Record<Name, Asked>> = {
  createVideoId: "creation",
  createRequest: "registration",
  getRequest: "request",
  upload: "uids",
  uploadHashes: "twoUids",
  contract: "pdf",
  signedDocument: "pdf",
  originalDocument: "pdf",
  signedHash: "cms",
  originalHash: "hash",
  downloadVideo: "film",
  createToken: "uid",
  uploadImage: "uid",
  getToken: "token",
  listTokens: "tokens",
  getImage: "png",
  listImages: "images",
};

const askedBy = (name: Name) => ASKED[name] ?? "nothing";

const NAMES = Object.keys(CALL) as Name[];
const READS: ReadonlySet<Name> = new Set([
  ...(["getRequest", "contract", "signedDocument", "originalDocument", "signedHash", "originalHash"] as const),
  ...(["downloadVideo", "getToken", "listTokens", "getImage", "listImages"] as const),
]);
const CANARIES = /canary|052174/i;

function isUid(value: unknown): boolean {
  return typeof value === "string" && /^[\w-][\w.-]*$/.test(value);
}

function isFile(given: unknown, begins: RegExp, mostBytes: number): boolean {
  return Buffer.isBuffer(given) && begins.test(given.toString("latin1", 0, 4_096)) && given.length <= mostBytes;
}

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
    case "createRequest": {
      const { requestPk, asyncmode } = given as Record<string, unknown>;
      return isCount(requestPk) && typeof asyncmode === "boolean" && text.includes(String(requestPk));
    }
    case "upload":
    case "uploadHashes":
      return Array.isArray(given) && given.length === (name === "upload" ? 1 : 2) && given.every(isUid);
    case "createToken":
    case "uploadImage":
      return isUid(given) && text.includes(given as string);
    case "getToken":
      return typeof (given as Record<string, unknown>)["hasPin"] === "boolean";
    case "listTokens":
    case "listImages":
      return Array.isArray(given) && given.every((one) => isUid((one as Record<string, unknown>)["uid"]));
    case "contract":
    case "signedDocument":
    case "originalDocument":
      return isFile(given, /%PDF-/, DOCUMENT_MOST);
    case "signedHash":
      return isFile(given, /^0/, DOCUMENT_MOST);
    case "originalHash":
      return isFile(given, /^\s*\{[^]*"messageDigest"/, DOCUMENT_MOST);
    case "getImage":
      return isFile(given, /^.PNG/, IMAGE_MOST);
    case "downloadVideo":
      return isFile(given, /^[^{[<]/, DOCUMENT_MOST);
    case "deleteDocument":
    case "deleteDocuments":
    case "deleteToken":
    case "deleteImage":
    case "deleteImages":
      return given === "deleted" || given === "absent";
    case "sign":
      return given === "signed" || given === "accepted";
    default:
      return given === undefined;
  }
}

const MORE = new Set<string>(Object.keys(MORE_CALLS));

test.each([
  ["of a video identification and its signing", NAMES.filter((name) => !MORE.has(name))],
  ["beyond them", NAMES.filter((name) => MORE.has(name))],
])(
  "every answer to every call %s is a success with what it promises, or a failure with a known code and a true effect",
  async (_, names) => {
    const known = new Set(
      [...readFileSync("docs/operations.md", "utf8").matchAll(/`([a-z][a-zA-Z-]+)`/g)].map(([, code]) => code),
    );
    const server = await startHostile();
    const provider = createProvider({
      url: `${server.url}/oneshot/api/v1`,
      timeoutsMs: TIMEOUTS_MS,
      maxDocumentBytes: DOCUMENT_MOST,
      maxVideoBytes: DOCUMENT_MOST,
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
          // An error that says what was wanted: it is gone, or there are none.
          const isAbsent = outcome.given === "absent" || (Array.isArray(outcome.given) && outcome.given.length === 0);
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
      { numRuns: RUNS, seed: SEED, examples: names.map((name) => [[name, plain(askedBy(name))]]) },
    );
    await provider.close();
    // The fuzz is no good when nothing ever succeeds, or when all fails in one way.
    expect(names.filter((name) => !outcomes.has(`${name} ok`))).toEqual([]);
    expect(outcomes.size).toBeGreaterThan(names.length + 10);
  },
);
