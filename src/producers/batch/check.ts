import { PermanentError } from "../../core/errors.ts";
import { type Enclosure, fileNameOf } from "../../core/identity.ts";
import type { Digest, StoredDocument } from "../../core/request.ts";
import type { Format } from "../../core/signing.ts";
import type { Appearances, Fitted } from "../../files/appearances.ts";
import type { KeptRow } from "../../files/batches.ts";
import { probeEnclosure } from "../../files/enclosure.ts";
import { checkSignable } from "../../files/signable.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import { formatOf, isSameName, type Manifest, type ManifestFrame, namedFiles, toWishes } from "../manifest.ts";
import { FILES, type RowProblem, shown, toRowProblems } from "./columns.ts";
import { HIDDEN, isAddress, nameOfAddress, toShown, toShownNames, toUrl } from "./addresses.ts";
import type { DoneBefore } from "./earlier.ts";
import { type ReadRow, readBatch } from "./read.ts";

/** Problems that a report names; how many there are it says in any case. */
const PROBLEMS_SHOWN = 200;
const UNUSED_SHOWN = 20;
const ALONE = "write the name of the file alone, without its folders";
const TAIL = "names what did not come with the table; in an address, write %3B for a semicolon";

/** A file that came with the table. */
export interface BatchFile {
  /** The name by which rows name it. */
  name: string;
  /** Where it is kept among the documents of the batch. */
  n: number;
  path: string;
  sizeBytes: number;
  sha256: string;
}

/** A document by where the batch keeps it, and what it is called in the store. */
export type LocalDocument = Omit<StoredDocument, "id"> & { n: number | string; as: string };

/** A document that is fetched right before its row is submitted. */
export interface RemoteDocument {
  url: string;
  as: string;
  /** What it is called for people. */
  name: string;
}

export function isLocal(document: LocalDocument | RemoteDocument): document is LocalDocument {
  return !("url" in document);
}

/** What it takes to submit a row, apart from its id: what is sealed. */
export interface Submittable {
  wishes: ReturnType<typeof toWishes>;
  fitted: Fitted;
  documents: (LocalDocument | RemoteDocument)[];
  /** What documents that are fetched are held against when they are there. */
  onceFetched?: { signature: Manifest["signature"]; format: Format };
  enclosures: (Omit<Enclosure, "id"> & { n: number; as: string })[];
}

/** What was found wrong with a row. */
export interface RowRefusal extends RowProblem {
  row: number;
}

/** What the check of a batch found. */
export interface BatchReport {
  rows: number;
  good: number;
  rejected: number;
  problems: RowRefusal[];
  /** Documents that rows name by their addresses: they are fetched when the row is submitted, and looked at then. */
  to_fetch: number;
  /** Files that came and that no row names. */
  unused_files: string[];
}

/**
 * Checks a batch as a submission would be: the table, each row as a manifest, each of its files as what it is to be. What
 * it gives are the rows as they are kept, one after another; `report` is whole once they have all been taken. Throws
 * what readBatch throws, and what the file system says.
 */
export function createCheck({
  pipeline,
  appearances,
  whyNotFetched = () => "names an address: send the file itself with the table",
  digest,
  maxBytes,
}: {
  pipeline: Pick<Pipeline, "mustBeAllowed">;
  appearances: Pick<Appearances, "fit">;
  /** Why a document may not be fetched from an address, as the end of a sentence; undefined when it may. Calls nobody. */
  whyNotFetched?: ((url: string) => string | undefined) | undefined;
  /** A keyed digest: who signs cannot be found out by trying. */
  digest: (text: string) => Uint8Array;
  maxBytes: number;
}) {
  return function check(
    bytes: Uint8Array,
    {
      files,
      maxRows,
      tenant,
      earlier,
      frame,
      seal,
    }: {
      files: readonly BatchFile[];
      maxRows: number;
      /** The only tenant that rows may be for; whichever they name, when undefined. */
      tenant?: string | undefined;
      /** Rows that are not submitted, since the results of an earlier batch say that they are done. */
      earlier?: ReadonlyMap<number, DoneBefore & { print?: string | undefined }> | undefined;
      /** What holds for rows because of where the table was handed in. */
      frame?: ManifestFrame | undefined;
      seal: (row: number, text: string) => string;
    },
  ): { rows: AsyncGenerator<KeptRow, void, undefined>; report: BatchReport } {
    const byName = new Map<string, BatchFile>();
    for (const file of files) byName.set(file.name.normalize("NFC"), file);
    const used = new Set<BatchFile>();
    const known = new Map<string, Promise<{ digest?: Digest }>>();
    const report: BatchReport = { rows: 0, good: 0, rejected: 0, problems: [], to_fetch: 0, unused_files: [] };

    /** A document is looked at once for each way of signing, however many rows name it. */
    function checkOnce(file: BatchFile, format: Format): Promise<{ digest?: Digest }> {
      const key = `${format} ${file.n}`;
      const found = known.get(key) ?? checkSignable(file.path, { name: file.name, format, maxBytes });
      known.set(key, found);
      return found;
    }

    async function* rows(): AsyncGenerator<KeptRow, void, undefined> {
      for await (const read of readBatch(bytes, { maxRows, frame })) {
        const kept = await keep(read);
        report.rows += 1;
        if (kept.problems) report.rejected += 1;
        else if (kept.signedAs === undefined) report.good += 1;
        for (const problem of kept.problems ?? []) {
          if (report.problems.length < PROBLEMS_SHOWN) report.problems.push({ row: kept.row, ...problem });
        }
        yield kept;
      }
      const unused = files.filter((file) => !used.has(file));
      report.unused_files = unused.slice(0, UNUSED_SHOWN).map(({ name }) => name);
    }

    async function keep(read: ReadRow): Promise<KeptRow> {
      const { row, files: names, reference } = read;
      const print = "manifest" in read ? printOf(read.manifest, names) : undefined;
      const toldNames = toShownNames(names, (name) => byName.has(name));
      const told = { row, ...(reference !== undefined && { reference }), files: toldNames };
      const kept = { ...told, ...(print !== undefined && { print }) };
      const before = earlier?.get(row);
      // Results of another table may lie beside this one: its rows have other signers, or files of the same names.
      const isSame = before && (before.print === undefined || before.print === print);
      if (isSame && before.files.join("\n") === kept.files.join("\n")) {
        for (const file of files) if (names.some((name) => isSameName(file.name, name))) used.add(file);
        return { ...kept, signedAs: before.requestId };
      }
      const problems: RowProblem[] = [...(read.problems ?? [])];
      for (const [i, name] of names.entries()) {
        const told = toldNames[i] ?? HIDDEN;
        if (isAddress(name)) {
          const why = toUrl(name) === undefined ? "names an address that cannot be read" : whyNotFetched(name);
          if (why !== undefined) problems.push({ column: FILES, message: why });
          continue;
        }
        const file = byName.get(name.normalize("NFC"));
        if (file) used.add(file);
        else if (told === HIDDEN) problems.push({ column: FILES, message: TAIL });
        else if (/[\\/]/.test(name)) problems.push({ column: FILES, message: `names "${shown(told)}": ${ALONE}` });
        else problems.push({ column: FILES, message: `names "${shown(told)}", which did not come with the table` });
      }
      if (!("manifest" in read) || problems.length > 0) return { ...kept, problems };
      const ready = await makeSubmittable(read.manifest, names, problems);
      if (!ready || problems.length > 0) return { ...kept, problems };
      const { tenant: named, rao } = read.manifest;
      const account = { ...(named !== undefined && { tenant: named }), ...(rao !== undefined && { rao }) };
      const remote = ready.documents.filter((one) => !isLocal(one)).length;
      report.to_fetch += remote;
      return {
        ...kept,
        ...(named !== undefined || rao !== undefined ? { account } : {}),
        ...(remote > 0 && { isRemote: true }),
        sealed: seal(row, JSON.stringify(ready)),
      };
    }

    function printOf({ signer }: Manifest, names: readonly string[]): string {
      const files = names.map((name) => byName.get(name.normalize("NFC"))?.sha256 ?? toShown(name));
      return Buffer.from(digest(`row ${JSON.stringify([signer, files])}`)).toString("base64url");
    }

    async function makeSubmittable(
      manifest: Manifest,
      names: readonly string[],
      problems: RowProblem[],
    ): Promise<Submittable | undefined> {
      const format = formatOf(manifest);
      const documents: Submittable["documents"] = [];
      const places: { path: string; name: string }[] = [];
      refuseForeign(manifest, problems);
      for (const [i, name] of names.entries()) {
        const url = toUrl(name);
        if (url) {
          documents.push({ url: url.href, as: `${i + 1}.pdf`, name: nameOfAddress(url, `document-${i + 1}.pdf`) });
          continue;
        }
        const file = byName.get(name.normalize("NFC"));
        if (!file) continue;
        try {
          const { n, sizeBytes, sha256 } = file;
          const called = file.name.normalize("NFC");
          documents.push({
            n,
            as: `${i + 1}.pdf`,
            name: called,
            sizeBytes,
            sha256,
            ...(await checkOnce(file, format)),
          });
          places.push({ path: file.path, name: called });
        } catch (error) {
          problems.push({ column: FILES, message: `names "${shown(name)}", which cannot be signed: ${why(error)}` });
        }
      }
      const enclosures = await enclosuresOf(manifest, problems);
      if (problems.length > 0) return undefined;
      const wished = toWishes(manifest);
      const wishes = { ...wished, ...(tenant !== undefined && { tenant }) };
      if (!documents.every(isLocal)) {
        // How many pages it has, and whether the place for the signature is on one of them, is seen once it is there.
        const { signature } = manifest;
        return { wishes, fitted: {}, documents, onceFetched: { signature, format }, enclosures };
      }
      const fitted = await appearances.fit(manifest.signature, places).catch((error: unknown) => {
        if (!(error instanceof PermanentError)) throw error;
        const fields = Object.entries(error.fields ?? { manifest: error.message });
        problems.push(...toRowProblems(fields.map(([field, message]) => ({ field, message }))));
        return {};
      });
      return { wishes, fitted, documents, enclosures };
    }

    function refuseForeign({ tenant: named, ...wishes }: Manifest, problems: RowProblem[]): void {
      if (tenant !== undefined && named !== undefined && named !== tenant) {
        problems.push({ column: "tenant", message: `must be "${tenant}", or empty: the key is for that tenant alone` });
        return;
      }
      try {
        pipeline.mustBeAllowed({ ...wishes, tenant: named ?? tenant });
      } catch (error) {
        if (!(error instanceof PermanentError)) throw error;
        problems.push({ column: COLUMNS_OF[error.code] ?? "row", message: `is refused: ${error.message}` });
      }
    }

    async function enclosuresOf({ identity }: Manifest, problems: RowProblem[]): Promise<Submittable["enclosures"]> {
      const found: Submittable["enclosures"] = [];
      for (const { role, name } of namedFiles(identity)) {
        const file = byName.get(name.normalize("NFC")) ?? files.find((one) => isSameName(one.name, name));
        if (!file) {
          problems.push({ column: role, message: "names a file that did not come with the table" });
          continue;
        }
        used.add(file);
        try {
          const contentType = await probeEnclosure(file.path, role, { maxBytes });
          const { n, sizeBytes, sha256 } = file;
          found.push({ n, as: fileNameOf({ name: role, contentType }), name: role, contentType, sizeBytes, sha256 });
        } catch (error) {
          problems.push({ column: role, message: `names a file that cannot be used: ${why(error)}` });
        }
      }
      return found;
    }

    return { rows: rows(), report };
  };
}

/** The column that a wish which is not for everybody stands in, by the code of its refusal. */
const COLUMNS_OF: Record<string, string> = {
  "auto-approval-not-allowed": "approval",
  "callback-not-allowed": "callback_url",
  "unknown-tenant": "tenant",
  "unknown-rao": "rao",
};

/** Why a file is refused. A fault of the disk is passed on: it is not the row's. */
function why(error: unknown): string {
  if (!(error instanceof PermanentError)) throw error;
  return error.message.replace(/[.\s]*$/, "");
}
