import { createHmac, randomBytes, type Hash } from "node:crypto";
import type { Status } from "./states.ts";

export type Document = {
  uid: string;
  /** Name of the form part it came in. */
  part: string;
  filename: string;
  bytes: number;
  sha256: string;
  /** SHA-256 over the original, ready to go on with what signing appends; gone after signing. */
  hash?: Hash;
  /** Length of what signing appended; absent as long as it is not signed. */
  tailBytes?: number;
  signedSha256?: string;
};

export type Certificate = { status: "VALID"; serial_number: string; valid_from: string; valid_to: string };

export type Otp = { code: string; at: number; wrong: number };

export type Person = { given_name?: string; surname_1?: string; surname_2?: string; serial_number?: string };

export type Request = {
  pk: number;
  videoidPk: number;
  status: Status;
  scratchcard: string;
  profile: string;
  registrationAuthority: string;
  email: string;
  phone: string;
  country: string;
  person: Person;
  /** The person's data came from the identification and can no longer be changed. */
  identified: boolean;
  createdAt: number;
  approvedAt?: number;
  documents: Map<string, Document>;
  otp?: Otp;
  certificate?: Certificate;
  contractTailBytes?: number;
  /** A sign call is at work; the next one waits for it. */
  signing?: Promise<unknown>;
};

export type NewRequest = Pick<Request, "profile" | "registrationAuthority" | "email" | "phone">;

export type Token = { username: string; password?: string; pin?: string };
export type Image = { uid: string; filename: string; bytes: number; size: [number, number]; uploadedAt: number };

export type Store = {
  requests: Map<number, Request>;
  byVideoid: Map<number, Request>;
  tokens: Map<string, Token>;
  images: Map<string, Image>;
  create: (facts: NewRequest, at: number) => Request;
  /** The unguessable part of a `videoid_link`, and the way back. */
  linkOf: (request: Request) => string;
  byLink: (opaque: string) => Request | undefined;
};

// The two numbers belong to different sequences, so that a mix-up shows at once. @source docs/provider.md §Identifiers
const FIRST_REQUEST_PK = 1_012_632;
const FIRST_VIDEOID_PK = 16_673;
const FIRST_SCRATCHCARD = 5_039_078;

/** The requests, tokens and images in memory. Numbers up to `lastRequestPk`, of an earlier run, are not used again. */
export function createStore(lastRequestPk = 0): Store {
  let count = Math.max(0, lastRequestPk - FIRST_REQUEST_PK + 1);
  const requests = new Map<number, Request>();
  const byVideoid = new Map<number, Request>();
  const secret = randomBytes(16);
  const seal = (text: string): string => createHmac("sha256", secret).update(text).digest("base64url").slice(0, 16);
  return {
    requests,
    byVideoid,
    tokens: new Map(),
    images: new Map(),
    create(facts, at) {
      const request: Request = {
        ...facts,
        pk: FIRST_REQUEST_PK + count,
        videoidPk: FIRST_VIDEOID_PK + count,
        scratchcard: String(FIRST_SCRATCHCARD + count),
        status: "VIDEOPENDING",
        country: "ES",
        person: {},
        identified: false,
        createdAt: at,
        documents: new Map(),
      };
      count++;
      requests.set(request.pk, request);
      byVideoid.set(request.videoidPk, request);
      return request;
    },
    linkOf: (request) => Buffer.from(`${request.videoidPk}.${seal(String(request.videoidPk))}`).toString("base64url"),
    byLink(opaque) {
      const [videoidPk = "", sealed] = Buffer.from(opaque, "base64url").toString("latin1").split(".");
      return sealed === seal(videoidPk) ? byVideoid.get(Number(videoidPk)) : undefined;
    },
  };
}

/** The signer's name as it goes into a certificate; a stand-in as long as nobody has said it. */
export function signerName(request: Request): string {
  const { given_name, surname_1, surname_2 } = request.person;
  const known = [given_name, surname_1, surname_2].filter(Boolean).join(" ");
  return known || `Simulated Signer ${request.pk}`;
}
