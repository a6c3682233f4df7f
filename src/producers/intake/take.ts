import { createHmac } from "node:crypto";
import type { Readable } from "node:stream";
import { isFailure, PermanentError } from "../../core/errors.ts";
import { splitDocuments } from "../../core/group.ts";
import type { Enclosure } from "../../core/identity.ts";
import type { RequestId, StoredDocument } from "../../core/request.ts";
import { DEFAULT_TENANT } from "../../core/tenant.ts";
import { openShared } from "../../files/shared-folder.ts";
import type { Given, Taken } from "../../queues/intake.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import { toDisplayName } from "../api/names.ts";
import type { DocumentStore } from "../api/ports.ts";
import { fieldOf, formatOf, isSameName, type Manifest, namedFiles, readManifest, toWishes } from "../manifest.ts";
import { IntakeJob, type Place, Sealed, toProblems } from "./job.ts";
import type { Opener } from "./sealed.ts";

type Problems = { field: string; message: string }[];

/** Why a job is not taken. */
class Refusal extends Error {
  readonly code: string;
  readonly errors: Problems | undefined;
  constructor(message: string, { code, errors }: { code: string; errors?: Problems }) {
    super(message);
    this.code = code;
    this.errors = errors;
  }
}

/** What is sealed, or would be. */
interface Inside {
  manifest: unknown;
  documents?: Place[] | undefined;
  enclosures?: Place[] | undefined;
}

interface Wanted {
  manifest: Manifest;
  documents: Place[];
  enclosures: Place[];
}

/** Fetches a document by its url. Throws a Failure. */
export type FetchDocument = (url: string) => Promise<{ content: Readable; sizeBytes: number | undefined }>;

/**
 * Turns a job of the queue "intake" into a request, under an id that follows from the job's: the same job makes one
 * request, however often it is taken. Says what is wrong with it otherwise. Throws a Failure when the world is at fault,
 * or a file is not there yet, and it has to be taken once more.
 */
export function createTake({
  pipeline,
  documents: store,
  opener,
  folder,
  fetchDocument,
  allowPlain,
  most,
  printKey,
  holdMs = () => Promise.resolve(0),
}: {
  pipeline: Pick<Pipeline, "mayTake" | "find" | "submit" | "completeGroup">;
  documents: DocumentStore;
  opener: Opener;
  /** Where files are that jobs name by their path; without it, none can be. */
  folder: string | undefined;
  /** How documents are had that jobs name by their url. */
  fetchDocument: FetchDocument;
  /** Whether who signs may stand in a job in the clear. */
  allowPlain: boolean;
  /** Documents in one job at the most. */
  most: number;
  /** Keys the fingerprint by which a job is known again. */
  printKey: Uint8Array;
  /** In how many milliseconds a tenant's job may be taken, when not now; `isAgain`: it was held before. */
  holdMs?: (tenant: string, isAgain: boolean) => Promise<number>;
}) {
  return async function take(given: Given): Promise<Taken> {
    /** Files of this job are in the store, and surely no request has them. */
    let isStored = false;
    try {
      const wanted = await read(given.data);
      const intake = { job: given.job, print: printOf(wanted) };
      // Before it is looked for, which a Redis that was away may have forgotten.
      const taking = await pipeline.mayTake();
      const known = await pipeline.find(given.id);
      if (known) {
        const { print } = known.facts["intake"] as { print?: string };
        if (print !== intake.print) {
          throw new Refusal("The job's id was used for another request; give a new one a new id", {
            code: "intake-id-reused",
          });
        }
        if (known.facts["group"] !== undefined) await pipeline.completeGroup(given.id);
        return { outcome: "accepted", request: known };
      }
      const pauseMs = given.mayBeHeld ? await holdMs(wanted.manifest.tenant ?? DEFAULT_TENANT, given.isAgain) : 0;
      if (pauseMs > 0) return { outcome: "held", pauseMs };
      isStored = true;
      const stored = await storeAll(given.id, wanted);
      const { manifest } = wanted;
      const fitted = await store.fit(manifest.signature, stored.documents);
      const [first = [], ...rest] = splitDocuments(stored.documents);
      const submission = {
        ...toWishes(manifest),
        ...fitted,
        id: given.id,
        source: "intake" as const,
        documents: first,
        rest,
        enclosures: stored.enclosures,
        by: "intake",
        intake,
      };
      const submitted = await pipeline.submit(submission, { taking, writes: () => (isStored = false) });
      if (submitted.outcome === "duplicate") throw new Error("A duplicate was not asked to be refused");
      await store.accept(given.id).catch(() => {}); // whoever tidies finds the request by its record
      return { outcome: "accepted", request: submitted.request };
    } catch (error) {
      const isForGood = error instanceof Refusal || error instanceof PermanentError;
      // What cannot be removed now is removed by whoever tidies. What is tried again finds what there is.
      if (isForGood && isStored) await store.discard(given.id).catch(() => {});
      if (!(error instanceof Refusal)) throw error;
      const { message, code, errors } = error;
      return { outcome: "refused", code, message, ...(errors && { errors }) };
    }
  };

  async function read(data: unknown): Promise<Wanted> {
    const job = IntakeJob.safeParse(data);
    if (!job.success) throw invalid("The job", toProblems(job.error, "job"));
    const { sealed, manifest: plain } = job.data;
    if (plain !== undefined && !allowPlain) {
      throw new Refusal(
        "Who signs must be sealed (signpipe intake key); the operator can allow it in the clear with INTAKE_PLAIN",
        { code: "intake-plain-not-allowed" },
      );
    }
    if ((sealed === undefined) === (plain === undefined)) {
      throw invalid("The job", [{ field: "sealed", message: "or manifest must be there, and not both" }]);
    }
    const inside: Inside = sealed === undefined ? { manifest: plain } : await open(sealed);
    for (const field of ["documents", "enclosures"] as const) {
      if (job.data[field] !== undefined && inside[field] !== undefined) {
        throw invalid("The job", [{ field, message: "must be sealed or beside what is sealed, not both" }]);
      }
    }
    const documents = inside.documents ?? job.data.documents ?? [];
    const enclosures = inside.enclosures ?? job.data.enclosures ?? [];
    if (documents.length === 0) throw invalid("The job", [{ field: "documents", message: "is missing" }]);
    if (documents.length > most) {
      throw invalid("The job", [{ field: "documents", message: `must not have more than ${most} entries` }]);
    }
    const manifest = readManifest(inside.manifest);
    if (manifest.ok) return { manifest: manifest.manifest, documents, enclosures };
    const errors = manifest.problems.map(({ field, message }) => {
      return { field: field === "manifest" ? field : `manifest.${field}`, message };
    });
    throw new Refusal("The manifest cannot be used", { code: "invalid-manifest", errors });
  }

  async function open(sealed: string): Promise<Inside> {
    let value: unknown;
    try {
      value = JSON.parse(await opener.open(sealed));
    } catch (error) {
      if (error instanceof PermanentError) throw error;
      throw invalid("What is sealed", [{ field: "sealed", message: "must be JSON" }]);
    }
    const inside = Sealed.safeParse(value);
    if (inside.success) return inside.data;
    throw invalid("What is sealed", toProblems(inside.error, "sealed"));
  }

  async function storeAll(id: RequestId, wanted: Wanted) {
    try {
      return await storeOnce(id, wanted);
    } catch (error) {
      // An earlier try has stored what was there then: the newest counts, since nobody has been told of that one.
      if (!isFailure(error, "name-taken")) throw error;
      await store.discard(id);
      return await storeOnce(id, wanted);
    }
  }

  async function storeOnce(id: RequestId, { manifest, documents, enclosures }: Wanted) {
    const stored: StoredDocument[] = [];
    for (const [i, place] of documents.entries()) {
      stored.push(
        await ofField(`documents.${i}`, async () => {
          const document = await withFile(place, (content) => {
            return store.receive(id, i + 1, nameOf(place, `document-${i + 1}.pdf`), content);
          });
          mustBe(place, document.sha256);
          return await store.check(document, formatOf(manifest));
        }),
      );
    }
    return { documents: stored, enclosures: await storeEnclosures(id, manifest, enclosures) };
  }

  async function storeEnclosures(id: RequestId, { identity }: Manifest, places: readonly Place[]) {
    const named = namedFiles(identity);
    const stored: Enclosure[] = [];
    for (const [i, { role, name }] of named.entries()) {
      const place = places.find((one) => isSameName(nameOf(one, ""), name));
      if (!place) {
        const errors = [
          { field: `manifest.${fieldOf(role)}`, message: "names a file that is not among the enclosures" },
        ];
        throw new Refusal("A file that the manifest names is missing", { code: "enclosure-missing", errors });
      }
      stored.push(
        await ofField(`enclosures.${places.indexOf(place)}`, async () => {
          const received = await withFile(place, (content) => store.receiveEnclosure(id, i + 1, content));
          mustBe(place, received.sha256);
          return await store.toEnclosure(received, role);
        }),
      );
    }
    const extra = places.findIndex((one) => !named.some(({ name }) => isSameName(nameOf(one, ""), name)));
    if (extra < 0) return stored;
    const errors = [{ field: `enclosures.${extra}`, message: "is not named in the manifest" }];
    throw new Refusal("A file is not named in the manifest", { code: "enclosure-not-named", errors });
  }

  async function withFile<T>(place: Place, act: (content: Readable) => Promise<T>): Promise<T> {
    const { content, sizeBytes } = await openPlace(place);
    content.on("error", () => {}); // whoever reads it is told
    try {
      await store.room(sizeBytes ?? 0);
      return await act(content);
    } finally {
      content.destroy();
    }
  }

  async function openPlace({ path, url }: Place): Promise<{ content: Readable; sizeBytes: number | undefined }> {
    if (path !== undefined) {
      if (folder === undefined) {
        throw new PermanentError("No document can be named by its path here: INTAKE_DIR is not set", {
          code: "path-not-allowed",
        });
      }
      return await openShared(folder, path);
    }
    return await fetchDocument(url ?? "");
  }

  /** The same for two jobs that ask for the same. */
  function printOf(wanted: Wanted): string {
    return createHmac("sha256", printKey).update(JSON.stringify(wanted)).digest("base64url").slice(0, 22);
  }
}

function nameOf({ name, path, url }: Place, fallback: string): string {
  return toDisplayName(name ?? path ?? endOf(url), fallback);
}

function endOf(url: string | undefined): string | undefined {
  const path = url && new URL(url).pathname;
  try {
    return path && decodeURIComponent(path);
  } catch {
    return path; // as it is written
  }
}

function mustBe({ sha256 }: Place, found: string): void {
  if (sha256 === undefined || sha256 === found) return;
  throw new PermanentError("It is not the file that sha256 says", { code: "intake-digest-mismatch" });
}

/** What is for good is told with the field that it is about. */
async function ofField<T>(field: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof PermanentError) || error.code === "name-taken") throw error;
    const { code, message } = error;
    throw new Refusal("A file cannot be used", { code, errors: [{ field, message }] });
  }
}

function invalid(what: string, errors: Problems): Refusal {
  const [first] = errors;
  return new Refusal(`${what} cannot be used: ${first?.field} ${first?.message}`, { code: "intake-invalid", errors });
}
