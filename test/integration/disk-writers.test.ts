import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { readSettings } from "../../src/config.ts";
import { toRequestId } from "../../src/core/request.ts";
import { createAppearances } from "../../src/files/appearances.ts";
import { createDocuments } from "../../src/files/documents.ts";
import { isDiskFailure } from "../../src/files/durable.ts";
import { createInstance } from "../../src/files/instance.ts";
import { createJournal } from "../../src/files/journal.ts";
import { createResults } from "../../src/files/results.ts";
import { createSpare } from "../../src/files/spare.ts";
import { readKeys } from "../../src/keys.ts";
import { toApiDocuments } from "../../src/producers/api/document-store.ts";
import { createClaims } from "../../src/producers/inbox/claim.ts";
import { createNotes } from "../../src/producers/inbox/notes.ts";
import { createStatusFiles } from "../../src/producers/inbox/status-file.ts";
import { mountSmallDisk, whyNoSmallDisk } from "../helpers/small-disk.ts";

const ID = toRequestId(new Uint8Array(16).fill(9));
const PDF = Buffer.alloc(50_000, "%PDF-1.7 ");
const LOG = { debug() {}, info() {}, warn() {}, error() {} };
const CLAIM = { format: 1 as const, id: ID, form: "file" as const, raw: "a.pdf", claimedMs: 0, parts: [] };
const LINE = { atMs: 1, request: ID, version: 1, mark: "m", event: "note", stage: "create", phase: "queued" as const };

/** Everything that writes, with the file that must be there as a whole or not at all. */
const WRITERS: Record<string, { file: string; write: (dir: string) => Promise<unknown> }> = {
  "an upload": {
    file: `work/${ID}/1.pdf`,
    write: (dir) =>
      toApiDocuments(createDocuments({ dir: join(dir, "work") }), {
        maxBytes: 1e6,
        room: async () => {},
        appearances: createAppearances({ dir, kept: join(dir, "images") }),
      }) //
        .receive(ID, 1, "a.pdf", Readable.from([PDF])),
  },
  "a signed file": {
    file: `signed/${ID}/a.signed.pdf`,
    write: (dir) =>
      createResults({ dir: join(dir, "signed") }).store(ID, "a.signed.pdf", Readable.from([PDF]), async () => ({})),
  },
  "the evidence": {
    file: `signed/${ID}/evidence.json`,
    write: (dir) => createResults({ dir: join(dir, "signed") }).writeEvidence(ID, { some: "evidence" }),
  },
  "the spare of the signer's data": {
    file: `work/${ID}/.signer`,
    write: (dir) => createSpare({ dir: join(dir, "work") }).keep(ID, { key: "k" }),
  },
  "the instance": { file: "instance", write: (dir) => createInstance(dir).claim("an-id") },
  "the journal": {
    file: "journal",
    write: (dir) =>
      createJournal({ dir: join(dir, "journal"), key: Buffer.alloc(32), log: LOG }).append(LINE, { durable: true }),
  },
  "the keys": {
    file: "keys/master-key",
    write: async (dir) => readKeys(readSettings({ DATA_DIR: dir }, { envFile: join(dir, "none") }), { forApi: false }),
  },
  "a status file": {
    file: "status/a.pdf.status.json",
    write: (dir) =>
      createStatusFiles({ dir: join(dir, "status") }) //
        .tellUnusable("a.pdf", { code: "not-a-pdf", message: "It is no PDF." }, 0),
  },
  "a claim's own note": {
    file: `work/${ID}/claim.json`,
    write: (dir) => createClaims({ inbox: dir, work: join(dir, "work"), now: () => 0 }).save(CLAIM),
  },
  "the list of what is taken out of the inbox": {
    file: "work/gate",
    write: async (dir) =>
      createClaims({ inbox: dir, work: join(dir, "work"), now: () => 0 }) //
        .takeAll(
          [{ form: "file", raw: "a.pdf" }],
          () => {},
          () => Promise.resolve(),
        ),
  },
  "a note": {
    file: "failed/a.pdf.error.json",
    write: (dir) =>
      createNotes({ folders: { failed: join(dir, "failed"), duplicates: join(dir, "duplicates") } }).write({
        where: "failed",
        raw: "a.pdf",
        keep: false,
        note: { code: "not-a-pdf", message: "It is no PDF.", state: "failed", retriable: true, at: "" },
      }),
  },
};

const FOLDERS = ["work", `work/${ID}`, "signed", `signed/${ID}`, "journal", "keys", "status", "failed", "duplicates"];

test.skipIf(whyNoSmallDisk !== undefined).each(Object.keys(WRITERS))(
  "%s is whole or not there when the disk takes nothing, and is written when it does again",
  async (what) => {
    const { file, write } = WRITERS[what] as (typeof WRITERS)[string];
    const disk = mountSmallDisk(2);
    for (const folder of FOLDERS) mkdirSync(join(disk.dir, folder), { recursive: true, mode: 0o700 });
    const before = listing(disk.dir);

    disk.fill();
    await expect(write(disk.dir).catch(refusal)).resolves.toBe("refused");
    expect(listing(disk.dir)).toEqual(before);

    disk.free();
    await write(disk.dir);
    expect(existsSync(join(disk.dir, file))).toBe(true);
  },
);

test.skipIf(whyNoSmallDisk !== undefined).each(Object.keys(WRITERS))(
  "%s says that the disk is read-only",
  async (what) => {
    const disk = mountSmallDisk(2);
    for (const folder of FOLDERS) mkdirSync(join(disk.dir, folder), { recursive: true, mode: 0o700 });
    disk.makeReadOnly();
    await expect((WRITERS[what] as (typeof WRITERS)[string]).write(disk.dir).catch(refusal)).resolves.toBe("refused");
  },
);

/** The disk is at fault, in a way that everybody who has to tell it apart does. */
function refusal(error: unknown): string {
  const told = isDiskFailure(error) || /cannot be written \((ENOSPC|EROFS)\): /.test(String(error));
  return told ? "refused" : `something else: ${String(error)}`;
}

/** Files on it, but for the marks of what is under way, which hold nothing. */
function listing(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: "utf8", withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== ".uploading")
    .map(({ name }) => name);
}
