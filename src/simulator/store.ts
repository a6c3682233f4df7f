import { createHmac, randomBytes, type Hash } from "node:crypto";
import type { Generation } from "./operations.ts";
import type { CertificateStatus, Status } from "./states.ts";

/** What a hash file asks to be signed. @source docs/provider.md §Hash */
export type HashFile = { algorithm: "sha256" | "sha384" | "sha512"; digestHex: string; withTime: boolean };

export type Document = {
  uid: string;
  /** Name of the form part it came in. */
  part: string;
  filename: string;
  bytes: number;
  sha256: string;
  uploadedAt: number;
  /** Of a hash file; what is uploaded is a PDF otherwise. */
  hashFile?: HashFile;
  /** SHA-256 over the original, ready to go on with what signing appends; gone after signing, and with a restart. */
  hash?: Hash;
  /** How much signing made: what is appended to a PDF, or the whole signature over a hash. Absent before. */
  tailBytes?: number;
  signedSha256?: string;
  /** Length of the PDF that was written anew before it was signed, with `usepdfclean`. */
  cleanBytes?: number;
  /** The first generation deletes what was uploaded and what was signed apart. */
  originalDeleted?: true;
};

export type Certificate = { status: CertificateStatus; serial_number: string; valid_from: string; valid_to: string };

export type Otp = { code: string; at: number; wrong: number };

export type Person = {
  given_name?: string;
  surname_1?: string;
  surname_2?: string;
  serial_number?: string;
  id_document_type?: string;
  id_document_country?: string;
};

/** A picture of the identity document or of the signer, by the name of the field it came in. */
export type IdentityImage = { name: string; uid: string; type: string };

/**
 * What an identification that was done elsewhere has brought: whether the images that matter are there, and the check
 * that did not hold.
 */
export type Evidence = { whole: boolean; similarity?: string | number; failed?: string };
export type Video = { bytes: number; sha256: string; type: string };

export type Request = {
  pk: number;
  /** Only of one that is identified by video. */
  videoidPk?: number;
  /** 2: a validation comes before the approval. */
  videoidMode: 1 | 2;
  status: Status;
  scratchcard: string;
  profile: string;
  registrationAuthority: string;
  email: string;
  phone: string;
  country: string;
  language: string;
  person: Person;
  /** The person's data came from the identification and can no longer be changed. */
  identified: boolean;
  createdAt: number;
  approvedAt?: number;
  /** The number of the RAO whose call it was; absent when an officer of the provider did it, or a token said nothing. */
  approvedBy?: string;
  refusalReason?: string;
  /** The caller's own address for notifications. */
  notifyUrl?: string;
  /** Signing is answered at once and done behind. */
  useAsync: boolean;
  /** An accepted signing, and when it is to be done. */
  accepted?: { dueAt: number; body: Record<string, unknown>; generation: Generation; isUnlocked: boolean };
  /** Images of a classic creation, or of evidences. */
  identityImages: IdentityImage[];
  evidence?: Evidence;
  video?: Video;
  documents: Map<string, Document>;
  otp?: Otp;
  certificate?: Certificate;
  contractTailBytes?: number;
  /** A sign call is at work; the next one waits for it. */
  signing?: Promise<unknown>;
};

export type NewRequest = Pick<Request, "profile" | "registrationAuthority" | "email" | "phone"> &
  Partial<Pick<Request, "videoidMode" | "country" | "language" | "person" | "notifyUrl" | "useAsync">>;

export type Token = { username: string; password?: string; pin?: string; note?: string };
export type Image = { uid: string; filename: string; bytes: number; size: [number, number]; uploadedAt: number };
export type Metadata = { oid: string; value: string };

export type Store = {
  requests: Map<number, Request>;
  byVideoid: Map<number, Request>;
  tokens: Map<string, Token>;
  images: Map<string, Image>;
  metadata: Map<string, Metadata>;
  /** A new request: of one that is identified by video, or of a classic one, which begins in CREATED. */
  create: (kind: "videoid" | "classic", facts: NewRequest, at: number) => Request;
  /** Takes in a request of an earlier run. */
  restore: (request: Request) => void;
  /** The unguessable part of a `videoid_link`, and the way back. */
  linkOf: (request: Request) => string;
  byLink: (opaque: string) => Request | undefined;
};

// The two numbers belong to different sequences, so that a mix-up shows at once. @source docs/provider.md §Identifiers
const FIRST_REQUEST_PK = 1_012_632;
const FIRST_VIDEOID_PK = 16_673;
const FIRST_SCRATCHCARD = 5_039_078;

/**
 * The requests, tokens, images and metadata in memory. Numbers up to `lastRequestPk`, of an earlier run, are not used
 * again. Links are sealed with `secret`.
 */
export function createStore(lastRequestPk = 0, secret: Buffer = randomBytes(16)): Store {
  let count = Math.max(0, lastRequestPk - FIRST_REQUEST_PK + 1);
  const requests = new Map<number, Request>();
  const byVideoid = new Map<number, Request>();
  const seal = (text: string): string => createHmac("sha256", secret).update(text).digest("base64url").slice(0, 16);
  const restore = (request: Request): void => {
    requests.set(request.pk, request);
    if (request.videoidPk !== undefined) byVideoid.set(request.videoidPk, request);
    count = Math.max(count, request.pk - FIRST_REQUEST_PK + 1);
  };
  return {
    requests,
    byVideoid,
    tokens: new Map(),
    images: new Map(),
    metadata: new Map(),
    create(kind, facts, at) {
      const isVideo = kind === "videoid";
      const request: Request = {
        videoidMode: 1,
        country: "ES",
        language: "ES",
        person: {},
        useAsync: false,
        ...facts,
        pk: FIRST_REQUEST_PK + count,
        ...(isVideo && { videoidPk: FIRST_VIDEOID_PK + count }),
        scratchcard: String(FIRST_SCRATCHCARD + count),
        status: isVideo ? "VIDEOPENDING" : "CREATED",
        identified: false,
        createdAt: at,
        identityImages: [],
        documents: new Map(),
      };
      restore(request);
      return request;
    },
    restore,
    linkOf: ({ videoidPk }) => Buffer.from(`${videoidPk}.${seal(String(videoidPk))}`).toString("base64url"),
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
