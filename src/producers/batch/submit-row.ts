import { type BatchId, type RowOutcome, rowRequestId } from "../../core/batch.ts";
import { isFailure, PermanentError } from "../../core/errors.ts";
import type { RequestId } from "../../core/request.ts";
import type { BatchFolders } from "../../files/batches.ts";
import type { Documents } from "../../files/documents.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import type { RowSeals } from "../../queues/row-seals.ts";
import { isLocal, type LocalDocument, type Submittable } from "./check.ts";
import type { OpenBatch } from "./open-batch.ts";
import { outcomeOf } from "./outcome.ts";

/** What a row's documents came to that had to be fetched: the row with them, or why it cannot be submitted. */
export type Fetched =
  { submittable: Submittable; error?: undefined } | { error: PermanentError; submittable?: undefined };

export type RowReach = (
  boundary: "row:fetched" | "row:adopted" | "row:submitted" | "row:noted",
  id: RequestId,
) => void | Promise<void>;

/** Reads what is sealed in rows, and makes a request of each. Every step can be repeated. */
export function createRowSubmitter({
  folders,
  pipeline,
  documents,
  seals,
  mustLead,
  now,
  reach,
}: {
  folders: BatchFolders;
  pipeline: Pick<Pipeline, "submit" | "find">;
  documents: Pick<Documents, "adopt" | "endUpload" | "remove">;
  seals: Pick<RowSeals, "open">;
  /** Throws when another process may have taken over. */
  mustLead: () => void;
  now: () => number;
  /** Told before each step at a row, with its request's id; for tests that crash there. */
  reach?: RowReach | undefined;
}) {
  const openers = new Map<BatchId, (row: number, sealed: string) => string>();

  async function openerOf(id: BatchId): Promise<((row: number, sealed: string) => string) | undefined> {
    const known = openers.get(id);
    if (known) return known;
    const wrapped = await folders.readKey(id);
    if (wrapped === undefined) return undefined;
    const opener = seals.open(id, wrapped);
    openers.set(id, opener);
    return opener;
  }

  /** What it takes to submit the row; undefined once it was erased. Throws PermanentError "vault-unreadable". */
  async function read(batch: OpenBatch, row: number): Promise<Submittable | undefined> {
    const { sealed } = await batch.kept(row);
    const unseal = await openerOf(batch.id);
    return sealed === undefined || !unseal ? undefined : (JSON.parse(unseal(row, sealed)) as Submittable);
  }

  async function submit(
    batch: OpenBatch,
    { row, attempt, id }: { row: number; attempt: number; id: RequestId },
    { wishes, fitted, documents: given, enclosures }: Submittable,
  ): Promise<RowOutcome> {
    const files = given.filter(isLocal);
    if (files.length < given.length) throw new PermanentError("A document was not fetched", { code: "document-gone" });
    const path = ({ n }: Pick<LocalDocument, "n">) => folders.documentPath(batch.id, n);
    // Whoever has taken over may have fetched something else, and submitted the row with that.
    mustLead();
    await documents.adopt(
      id,
      [...files, ...enclosures].map((file) => ({ path: path(file), as: file.as })),
    );
    await reach?.("row:adopted", id);
    const submitted = await pipeline.submit({
      ...wishes,
      ...fitted,
      id,
      source: "batch",
      by: batch.record.by,
      documents: files.map(({ n: _n, as, ...file }) => ({ ...file, id: `${id}/${as}` })),
      enclosures: enclosures.map(({ n: _n, as, ...file }) => ({ ...file, id: `${id}/${as}` })),
      batch: { id: batch.id, row },
      refuseDuplicate: true,
    });
    await reach?.("row:submitted", id);
    if (submitted.outcome === "duplicate") {
      await documents.remove(id);
      const { id: of, phase } = submitted.of;
      const message = `Request ${of}, which is ${phase}, has the same document for the same signer`;
      return { row, state: "duplicate", attempt, code: "duplicate", message, of, endedMs: now() };
    }
    await documents.endUpload(id);
    return outcomeOf(submitted.request, row, attempt);
  }

  async function reject(
    batch: OpenBatch,
    { row, attempt }: { row: number; attempt: number },
    { code, message }: PermanentError,
  ): Promise<void> {
    await batch.note([{ row, state: "rejected", attempt, code, message, endedMs: now() }]);
  }

  return {
    read,

    /** Makes a request of the row. Throws for what is not the row's fault: then it is to be submitted again. */
    async submitRow(batch: OpenBatch, row: number, fetched?: Fetched): Promise<void> {
      const attempt = batch.outcome(row)?.attempt ?? 1;
      const id = rowRequestId(batch.id, row, attempt);
      const known = await pipeline.find(id);
      if (known) return await batch.note([outcomeOf(known, row, attempt)]);
      if (fetched?.error) return await reject(batch, { row, attempt }, fetched.error);
      const submittable = fetched?.submittable ?? (await read(batch, row));
      if (!submittable) return await reject(batch, { row, attempt }, erased());
      let outcome: RowOutcome;
      try {
        outcome = await submit(batch, { row, attempt, id }, submittable);
      } catch (error) {
        if (!(error instanceof PermanentError) || isFailure(error, "vault-unreadable")) throw error;
        await documents.remove(id);
        return await reject(batch, { row, attempt }, error);
      }
      await batch.note([outcome]);
      await reach?.("row:noted", id);
    },

    /** Has the keys of a batch read anew, or of all. */
    forget(id?: BatchId): void {
      if (id === undefined) openers.clear();
      else openers.delete(id);
    },
  };
}

export function erased(): PermanentError {
  return new PermanentError("Who signs was erased with the batch; hand the row in anew", { code: "batch-erased" });
}
