import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import type { Enclosure, EnclosureRole } from "../../core/identity.ts";
import type { RequestId, StoredDocument } from "../../core/request.ts";
import type { Format, VideoIdPk } from "../../core/signing.ts";
import type { Fitted, Wanted } from "../../files/appearances.ts";
import type { Feed } from "../../queues/feed.ts";
import type { Answers } from "../../queues/answers.ts";
import type { Notifications } from "../../queues/notifications.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import type { BatchDoor } from "../batch/door.ts";
import type { Quota } from "../../queues/quota.ts";
import type { ApiKey } from "./api-keys.ts";
import type { Idempotency } from "./idempotency-types.ts";
import type { ProblemCode } from "./problem.ts";
import type { Rates } from "./rates.ts";
import type { Remote } from "./remote.ts";
import type { Status } from "./status.ts";

/** A file that has come, and of which nobody has said yet what it is. */
export type Received = Omit<StoredDocument, "name">;

/** What the API needs of the document store. */
export interface DocumentStore {
  /** Throws RetryableError "disk-full" when that many bytes would leave too little free. */
  room(bytes: number): Promise<void>;
  /** Streams a document to its place and hashes it on the way; it is durable when this resolves. */
  receive(id: RequestId, n: number, name: string, content: Readable): Promise<StoredDocument>;
  /** The same for the `n`th file that shows who the signer is, whatever it is. */
  receiveEnclosure(id: RequestId, n: number, content: Readable): Promise<Received>;
  /** Throws PermanentError when what was received is not what the role asks for; its message says why. */
  toEnclosure(received: Received, role: EnclosureRole): Promise<Enclosure>;
  /**
   * The stored document with what is signed of it. Throws PermanentError when it cannot be signed; its message says why.
   */
  check(document: StoredDocument, format: Format): Promise<StoredDocument>;
  /**
   * How the signature looks, held against the stored documents. Throws PermanentError "invalid-manifest" when it does not
   * fit one of them, with the field in `fields`.
   */
  fit(signature: Wanted | undefined, documents: readonly StoredDocument[]): Promise<Fitted>;
  /** The request is there: its documents are no longer those of an upload that may have been given up. */
  accept(id: RequestId): Promise<void>;
  /** Removes everything that was received for the request. Nothing there is fine. */
  discard(id: RequestId): Promise<void>;
}

/** What the API needs of the store of results. */
export interface ResultStore {
  /** Opens a stored file for reading. Throws an error with code ENOENT when it is not there. */
  open(id: RequestId, name: string): Promise<{ content: Readable; sizeBytes: number }>;
}

/** What an officer may look at before deciding. Both throw PermanentError where there is nothing to be seen. */
export interface Shown {
  /** A file that was handed in. Throws "document-gone" once it is erased. */
  enclosure(file: Enclosure): Promise<{ content: Readable; sizeBytes: number }>;
  /** The film of an identification, as the provider has it. Throws what the provider's client throws: "not-found", … */
  video(videoidPk: VideoIdPk, signal: AbortSignal): Promise<{ body: Readable; declaredBytes?: number }>;
}

/** Bounds on what is taken in. Sizes in bytes. */
export interface Limits {
  /** Documents in one submission. More than the provider takes in one request become several. */
  documents: number;
  documentBytes: number;
  /** All files of a request together. */
  totalBytes: number;
  /** How long one upload may take, in milliseconds. */
  uploadMs: number;
  /** Streams of events that one key may have open in this process. */
  streams: number;
}

export const DEFAULT_LIMITS: Limits = {
  documents: 100,
  documentBytes: 1024 ** 3,
  totalBytes: 4 * 1024 ** 3,
  uploadMs: 30 * 60_000,
  streams: 50,
};

export interface ApiParts {
  pipeline: Pipeline;
  documents: DocumentStore;
  results: ResultStore;
  shown: Shown;
  idempotency: Idempotency;
  /** Batches; without it there are no calls for them. */
  batches?: BatchDoor;
  /** Tells of changes as they happen. */
  feed: Feed;
  /** Fetches documents that are named by their address; without it none are. */
  remote?: Remote;
  /** Counts calls; without it nobody is counted. */
  quota?: Quota;
  rates?: Partial<Rates>;
  /** Addresses of proxies, and their networks, whose X-Forwarded-For says who calls. */
  proxies?: readonly string[];
  /** How often an idle stream of events gives a sign of life, in milliseconds. */
  beatMs?: number;
  keys: readonly ApiKey[];
  /** The path segment of the address that the provider is told. */
  webhookSecret: string;
  status: () => Promise<Status>;
  /** What callers were told of their requests. */
  notifications: Pick<Notifications, "list" | "replay" | "replayUndelivered" | "figures">;
  /** What the queue "results" has. */
  answers: Pick<Answers, "figures">;
  /** BullMQ queues for the board at /queues; without them there is no board. */
  queues?: readonly unknown[];
  /** The steps in order, for people. */
  stages: readonly { name: string; title: string }[];
  limits?: Partial<Limits>;
  /** Whether /metrics answers without a key (default false). */
  metricsOpen?: boolean;
  log: FastifyBaseLogger;
  version: string;
  now?: () => number;
}

/** The server, with zod as the type provider. */
export type Server = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** Facts about an answer, for the OpenAPI document. */
export interface AnswerNote {
  description: string;
  example?: unknown;
  contentType?: string | readonly string[];
  headers?: Record<string, string>;
}

declare module "fastify" {
  interface FastifyRequest {
    /** Name of the key that the caller showed; empty on open routes. */
    keyName: string;
    /** The tenant that the key is for; undefined when it is for all, and on open routes. */
    keyTenant: string | undefined;
  }
  interface FastifySchema {
    /** Problems this call can answer, besides those that every call can. */
    "x-problems"?: readonly ProblemCode[];
    /** Successful answers by status. */
    "x-answers"?: Record<number, AnswerNote>;
    /** An example of the body. */
    "x-body-example"?: unknown;
  }
}
