import { Readable } from "node:stream";
import { type BatchId, rowRequestId } from "../../core/batch.ts";
import { isFailure, PermanentError, RetryableError, toFailure } from "../../core/errors.ts";
import type { Format } from "../../core/signing.ts";
import type { Log } from "../../core/stage.ts";
import type { Appearances } from "../../files/appearances.ts";
import type { BatchFolders } from "../../files/batches.ts";
import { isDiskFailure, toDiskFailure } from "../../files/durable.ts";
import { checkSignable } from "../../files/signable.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import { ApiError } from "../api/problem.ts";
import type { Remote } from "../api/remote.ts";
import { isLocal, type LocalDocument, type RemoteDocument, type Submittable } from "./check.ts";
import type { OpenBatch } from "./open-batch.ts";
import { erased, type Fetched, type RowReach } from "./submit-row.ts";

/** So many rows have documents on their way, or fetched and not submitted yet, of all batches together, and of one. */
const AT_ONCE = 12;
const OF_ONE = 4;
/** How long a row waits whose document could not be had, each time; after the last it is rejected, to be tried again. */
const PAUSES_MS = [5_000, 30_000, 120_000];
/** A fault of ours counts for no row. */
const OURS_MS = 10_000;

export interface FetchingParts {
  folders: BatchFolders;
  pipeline: Pick<Pipeline, "find">;
  remote: Pick<Remote, "fetch">;
  appearances: Pick<Appearances, "fit">;
  /** Throws a fault of the disk when it has not this much room. */
  room: (bytes: number) => Promise<void>;
  maxBytes: number;
  read: (batch: OpenBatch, row: number) => Promise<Submittable | undefined>;
  log: Log;
  now: () => number;
  reach?: RowReach | undefined;
}

interface Row {
  batch: OpenBatch;
  row: number;
  way: Way;
}

interface Later {
  batch: OpenBatch;
  row: number;
  tries: number;
  untilMs: number;
  /** Set when it was no fault of the host. */
  fault: { code: string; message: string } | undefined;
}

type Way = { state: "fetching" } | ({ state: "fetched" } & Fetched);

/**
 * Fetches the documents that rows name by their addresses, a few rows ahead of what is submitted. A slow host keeps
 * no other row back, and what is wrong with a document is its row's fault alone.
 */
export function createFetching(parts: FetchingParts) {
  const { folders, pipeline, remote, appearances, room, maxBytes, read, log, now, reach } = parts;
  const ways = new Map<string, Row>();
  /** Rows whose documents could not be had, how often, and when they are tried again. */
  const later = new Map<string, Later>();
  const running = new Set<Promise<void>>();
  const key = (id: BatchId, row: number) => `${id} ${row}`;

  async function fetchRow(batch: OpenBatch, row: number): Promise<Fetched> {
    const id = rowRequestId(batch.id, row, batch.outcome(row)?.attempt ?? 1);
    const submittable = await read(batch, row);
    if (!submittable) return { error: erased() };
    // A crash came after it was submitted: what is there now is no business of it any more.
    if (await pipeline.find(id)) return { submittable };
    const { signature, format = "pades" } = submittable.onceFetched ?? {};
    const documents: LocalDocument[] = [];
    try {
      for (const one of submittable.documents)
        documents.push(isLocal(one) ? one : await fetchOne(batch.id, one, format));
      const places = documents.map(({ n, name }) => ({ path: folders.documentPath(batch.id, n), name }));
      const fitted = await appearances.fit(signature, places);
      await reach?.("row:fetched", id);
      return { submittable: { ...submittable, documents, fitted } };
    } catch (error) {
      await removeFetched(batch.id, documents);
      throw error;
    }
  }

  async function fetchOne(id: BatchId, one: RemoteDocument, format: Format): Promise<LocalDocument> {
    const { url, as, name } = one;
    const { content, declaredBytes = 0 } = await remote.fetch(url);
    let broken: unknown;
    content.on("error", (error) => (broken = error));
    let received: { n: string; sizeBytes: number; sha256: string };
    try {
      if (declaredBytes > maxBytes) throw new PermanentError("It is too large.", { code: "file-too-large" });
      await room(declaredBytes);
      received = await folders.receive(id, Readable.from(content), maxBytes);
    } catch (error) {
      const isOurs = error instanceof PermanentError || isDiskFailure(error);
      if (broken !== undefined && !isOurs) throw unreachable(url);
      throw error instanceof PermanentError ? unusable(url, error) : toDiskFailure(error);
    } finally {
      content.destroy();
    }
    const { n, sizeBytes, sha256 } = received;
    try {
      const path = folders.documentPath(id, n);
      const digest = await checkSignable(path, { name, format, maxBytes });
      return { n, as, name, sizeBytes, sha256, ...digest };
    } catch (error) {
      await folders.removeDocument(id, n);
      throw error instanceof PermanentError ? unusable(url, error) : error;
    }
  }

  async function removeFetched(id: BatchId, documents: Submittable["documents"]): Promise<void> {
    for (const one of documents) {
      if (isLocal(one) && typeof one.n === "string") await folders.removeDocument(id, one.n).catch(() => {});
    }
  }

  /** Fetches, and keeps what came of it until the row is submitted. */
  async function run(mine: Row): Promise<void> {
    const { batch, row } = mine;
    const at = key(batch.id, row);
    // Nobody may want it any more, or it was begun anew.
    const isWanted = () => ways.get(at) === mine;
    try {
      const fetched = await fetchRow(batch, row);
      if (isWanted()) mine.way = { state: "fetched", ...fetched };
      else if (fetched.submittable) await removeFetched(batch.id, fetched.submittable.documents);
    } catch (error) {
      if (!isWanted()) return;
      const failure = sorted(error);
      if (failure instanceof PermanentError && failure.code !== "vault-unreadable") {
        mine.way = { state: "fetched", error: failure };
        return;
      }
      const { tries: before = 0 } = later.get(at) ?? {};
      // The disk is full, or Redis is away: that is no row's fault, and counts for none.
      const isHosts = isFailure(failure, "document-host-unreachable");
      const pauseMs = isHosts ? PAUSES_MS[before] : OURS_MS;
      const { code, message } = toFailure(failure);
      if (!isHosts) log.warn({ batch: batch.id, row, code }, "documents of a row not fetched; tried again");
      if (pauseMs !== undefined) {
        ways.delete(at);
        const fault = isHosts ? undefined : { code, message };
        later.set(at, { batch, row, tries: isHosts ? before + 1 : before, untilMs: now() + pauseMs, fault });
        batch.isChanged = true;
        return;
      }
      later.delete(at);
      const said = `${message.replace(/[.\s]*$/, "")}. It was tried ${PAUSES_MS.length + 1} times`;
      mine.way = { state: "fetched", error: new PermanentError(said, { code }) };
    }
  }

  return {
    /** Whether a row more of the batch may be fetched. A slow host has the places of its own batch, and leaves some. */
    hasRoom(batch: OpenBatch): boolean {
      return ways.size < AT_ONCE && [...ways.values()].filter((one) => one.batch === batch).length < OF_ONE;
    },

    /** What is the matter with us, that documents of the batch cannot be fetched; undefined when nothing is. */
    fault: (batch: OpenBatch): { code: string; message: string } | undefined =>
      [...later.values()].find((one) => one.fault !== undefined && one.batch === batch)?.fault,

    /** Whether fetching may begin: it is not on its way, nor fetched, nor to be left alone for a while. */
    mayBegin(batch: OpenBatch, row: number): boolean {
      const at = key(batch.id, row);
      return batch.isRemote(row) && !ways.has(at) && (later.get(at)?.untilMs ?? 0) <= now();
    },

    begin(batch: OpenBatch, row: number): void {
      const mine: Row = { batch, row, way: { state: "fetching" } };
      ways.set(key(batch.id, row), mine);
      const done = run(mine).finally(() => running.delete(done));
      running.add(done);
    },

    /** What a row's documents came to; undefined while they are not there. */
    fetched(batch: OpenBatch, row: number): Fetched | undefined {
      const { way } = ways.get(key(batch.id, row)) ?? {};
      return way?.state === "fetched" ? way : undefined;
    },

    /** The row was submitted, or is not to be: what was fetched for it goes. */
    async end(batch: OpenBatch, row: number): Promise<void> {
      const at = key(batch.id, row);
      const { way } = ways.get(at) ?? {};
      ways.delete(at);
      later.delete(at);
      if (way?.state === "fetched" && way.submittable) await removeFetched(batch.id, way.submittable.documents);
    },

    /** Forgets rows that are not to be submitted any more. */
    async keepOnly(isWanted: (batch: OpenBatch, row: number) => boolean): Promise<void> {
      for (const { batch, row } of [...ways.values(), ...later.values()])
        if (!isWanted(batch, row)) await this.end(batch, row);
    },

    /** Forgets all of them. Resolves once nothing is on its way, which breaks off where connections are closed. */
    async stop(): Promise<void> {
      await this.keepOnly(() => false);
      await Promise.all(running);
    },
  };
}

function hostOf(url: string): string {
  return new URL(url).host;
}

function unreachable(url: string): RetryableError {
  return new RetryableError(`${hostOf(url)} did not give the document to its end`, {
    code: "document-host-unreachable",
  });
}

/** Says which host a document is of, and nothing more of its address, in which a secret may stand. */
function unusable(url: string, { code, message }: PermanentError): PermanentError {
  return new PermanentError(`What ${hostOf(url)} gives cannot be signed: ${message.replace(/[.\s]*$/, "")}`, { code });
}

/** What the host, and the list of those that are allowed, said, in the words of the pipeline. */
function sorted(error: unknown): unknown {
  if (!(error instanceof ApiError)) return error;
  const { code, message } = error;
  if (code === "document-host-unreachable") return new RetryableError(message, { code });
  return new PermanentError(message.replace(/[.\s]*$/, ""), { code });
}
