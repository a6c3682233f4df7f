import type { Faults, FaultInput } from "./faults.ts";
import { changeSettings } from "./options.ts";
import type { Settings } from "./options.ts";
import type { SettingsChange } from "./switches.ts";

/** A situation with a name: switches that are set together, and faults that wait for their calls. */
type Scenario = { says: string; set?: SettingsChange; faults?: readonly FaultInput[] };

/** Far more often than any test calls. */
const ALWAYS = 1_000_000;

export const SCENARIOS = {
  "lost-webhooks": { says: "No notification is ever sent: only looking finds out", set: { webhooks: { drop: true } } },
  "unruly-webhooks": {
    says: "Notifications come twice, late and in the wrong order",
    set: { webhooks: { duplicate: true, reorder: true, delayMs: 1500 } },
  },
  "slow-optimizer": { says: "Every answer takes three seconds", set: { latencyMs: 3000 } },
  "no-credits": { says: "The billing account has nothing left", set: { refuseCreation: "no-credit" } },
  "no-permission": { says: "The account may not create requests", set: { refuseCreation: "no-permission" } },
  "wrong-certificates": {
    says: "The Optimizer's own certificates are not in order",
    set: { refuseCreation: "certificates" },
  },
  "wrong-rao": { says: "The RAO's credentials are refused", set: { raoCredentials: "refused" } },
  usepdfclean: { says: "Signing writes PDFs anew, and takes earlier signatures away", set: { pdfClean: true } },
  "two-step": {
    says: "Somebody has to validate before the RAO approves",
    set: { videoidMode: 2 },
  },
  "operator-validates": {
    says: "Two steps, and an operator of the provider does the first",
    set: { videoidMode: 2, humans: { operator: "auto", operatorDelayMs: 500 } },
  },
  "operator-approves": {
    says: "An officer of the provider approves, without a call",
    set: { humans: { rao: "auto", raoDelayMs: 500 } },
  },
  "operator-does-all": {
    says: "Two steps, and the provider's people do both",
    set: { videoidMode: 2, humans: { operator: "auto", operatorDelayMs: 500, rao: "auto", raoDelayMs: 500 } },
  },
  "signers-act": {
    says: "Signers identify themselves after half a second",
    set: { humans: { signer: "auto", signerDelayMs: 500 } },
  },
  "signers-dawdle": {
    says: "Signers leave the identification unfinished, and complete it a minute later",
    set: { humans: { signer: "auto", signerDelayMs: 60_000, signerOutcome: "incomplete-then-complete" } },
  },
  "signers-fail": {
    says: "Every identification fails",
    set: { humans: { signer: "auto", signerDelayMs: 500, signerOutcome: "fail" } },
  },
  "expired-links": { says: "A signer's link is dead after a second", set: { linkLifetimeMs: 1000 } },
  "short-codes": { says: "A code is good for a second", set: { otpLifetimeMs: 1000 } },
  "async-fails": { says: "Asynchronous signing is accepted, and nothing comes of it", set: { asyncOutcome: "silent" } },
  "async-late-refusal": {
    says: "A wrong code of an asynchronous signing is found behind the answer",
    set: { asyncChecks: "behind" },
  },
  "lost-documents": {
    says: "Uploaded documents are gone when signing wants them: a pool of Optimizers without a shared volume",
    set: { loseDocuments: true },
  },
  "lost-image": { says: "An uploaded image is not there when signing wants it", set: { loseImages: true } },
  "long-term": { says: "Signatures carry what a validation years later needs", set: { signatureLevel: "LT" } },
  "lost-answers": {
    says: "The first creation, upload, code and signing are done, and their answers are lost",
    faults: (["createVideoId", "createRequest", "uploadDocument", "generateOtp", "sign"] as const).map((operation) => ({
      operation,
      kind: "reset-after",
    })),
  },
  flaky: {
    says: "The first attempt at each call of a VideoID request is answered 503, with nothing done",
    faults: (
      ["createVideoId", "getRequest", "approveVideoId", "uploadDocument", "getContract", "generateOtp", "sign"] as const
    ).map((operation) => ({ operation, kind: "status-before" })),
  },
  "rate-limited": {
    says: "Every look at a request is answered 429",
    faults: [{ operation: "getRequest", kind: "rate-limit", times: ALWAYS }],
  },
  "behind-a-proxy": {
    says: "A proxy answers in the place of the Optimizer, with HTML",
    faults: [{ kind: "html", times: ALWAYS }],
  },
  "fastapi-errors": { says: "Refusals have FastAPI's form", set: { errorStyle: "fastapi" } },
  "upstream-errors": { says: "Refusals come through from the registration authority", set: { errorStyle: "upstream" } },
  "first-generation": {
    says: "The newest paths, and everything else as the first generation had it",
    set: {
      envelope: "first",
      errorStyle: "old",
      notFoundAs400: true,
      uploadShape: "old",
      createStatus: 201,
      createAnswer: "bare",
      secretBesideUnlock: true,
      webhooks: { shape: "old" },
    },
  },
} as const satisfies Record<string, Scenario>;

export type ScenarioName = keyof typeof SCENARIOS;
export const SCENARIO_NAMES = Object.keys(SCENARIOS) as [ScenarioName, ...ScenarioName[]];

/** What there is, for people and programs. */
export const listScenarios = (): { name: string; says: string; set: SettingsChange; faults: readonly FaultInput[] }[] =>
  Object.entries<Scenario>(SCENARIOS).map(([name, { says, set = {}, faults = [] }]) => ({ name, says, set, faults }));

/** Brings these situations about, one over the other, over what the settings are already. */
export function play(names: readonly ScenarioName[], settings: Settings, faults: Faults): void {
  for (const name of names) {
    const { set, faults: more = [] }: Scenario = SCENARIOS[name];
    if (set) changeSettings(settings, set);
    for (const fault of more) faults.add(fault);
  }
}

/** Puts the settings back to what they were at the start, but for where notifications go; no fault waits any more. */
export function calm(settings: Settings, atStart: Settings, faults: Faults): void {
  const { webhookUrl } = settings;
  Object.assign(settings, structuredClone(atStart), { webhookUrl });
  faults.clear();
}
