import { closeSync, existsSync, fsyncSync, openSync, readdirSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { removeFiles } from "./files.ts";
import type { OptimizerSettings } from "./optimizer.ts";
import type { Message } from "./outbox.ts";
import type { Document, Image, Metadata, Request, Token } from "./store.ts";

/** What is kept, by kind. A kind that there is one of has the key "". */
type Kinds = {
  request: Request;
  token: Token;
  image: Image;
  metadata: Metadata;
  message: Message;
  optimizer: OptimizerSettings;
  clock: { aheadMs: number };
  /** Seals the links of signers. */
  secret: string;
  /** Where it listened, so that links lead there again. */
  port: number;
};
type Kind = keyof Kinds;

/** The simulator's memory on disk, which the next run begins with. */
export type StateFile = {
  /** What an earlier run has left, by key. */
  read: <K extends Kind>(kind: K) => Map<string, Kinds[K]>;
  /** Keeps the newest value of something; undefined when it is gone. */
  save: <K extends Kind>(kind: K, key: string | number, value: Kinds[K] | undefined) => void;
  close: () => void;
};

const FORMAT = 1;
/** Messages are read within minutes of their sending. */
const MESSAGES_KEPT = 1000;
/** The file is written anew when it has grown to so many times its size, and is not small. */
const GROWTH = 8;
const SMALL_FILE_BYTES = 1 << 20;

type Line = [kind: Kind | "format", key: string, value: unknown];

function toLine(kind: Kind, key: string, value: Kinds[Kind] | undefined): string {
  const plain = kind === "request" && value !== undefined ? plainRequest(value as Request) : value;
  return `${JSON.stringify([kind, key, plain ?? null])}\n`;
}

/** Without what only this run can use. */
function plainRequest({ signing: _signing, documents, ...request }: Request): object {
  const plain = [...documents.values()].map(({ hash: _hash, ...document }) => document);
  return { ...request, documents: plain };
}

function fromPlain(kind: Kind, value: unknown): Kinds[Kind] {
  if (kind !== "request") return value as Kinds[Kind];
  const request = value as Omit<Request, "documents"> & { documents: Document[] };
  return { ...request, documents: new Map(request.documents.map((document) => [document.uid, document])) };
}

/** A file of JSON lines; a last one that was torn off by a crash is as if it had never been. */
function linesOf(path: string): Line[] {
  if (!existsSync(path)) return [];
  const texts = readFileSync(path, "utf8").split("\n");
  texts.pop();
  return texts.map((text, i) => {
    try {
      return JSON.parse(text) as Line;
    } catch {
      throw new Error(`${path} is damaged in line ${i + 1}. Take it away to begin with nothing.`);
    }
  });
}

/** A memory that ends with the run. */
export const noStateFile = (): StateFile => ({ read: () => new Map(), save: () => undefined, close: () => undefined });

/**
 * Opens the memory in `path`, or begins one. Every change is a line that is written before the answer leaves; at the
 * start, and when it has grown, the file is written anew and put in the place of the old one in one step. Throws when
 * it is damaged, or of another version.
 */
export function openStateFile(path: string): StateFile {
  const kept = new Map<Kind, Map<string, Kinds[Kind]>>();
  const of = (kind: Kind): Map<string, Kinds[Kind]> => {
    const known = kept.get(kind) ?? new Map<string, Kinds[Kind]>();
    kept.set(kind, known);
    return known;
  };
  for (const [kind, key, value] of linesOf(path)) {
    if (kind === "format") {
      if (value !== FORMAT) throw new Error(`${path} was written by another version. Take it away to begin anew.`);
    } else if (value === null) of(kind).delete(key);
    else of(kind).set(key, fromPlain(kind, value));
  }
  forgetOldMessages(of("message"));

  let bytes = 0;
  let freshBytes = 0;
  let fd: number | undefined;
  const writeAnew = (): void => {
    const text = [...kept].flatMap(([kind, values]) => [...values].map(([key, value]) => toLine(kind, key, value)));
    const fresh = openSync(`${path}.new`, "w", 0o600);
    const whole = Buffer.from(`${JSON.stringify(["format", "", FORMAT])}\n${text.join("")}`);
    writeAll(fresh, whole);
    fsyncSync(fresh);
    renameSync(`${path}.new`, path);
    syncFolder(dirname(path));
    if (fd !== undefined) closeSync(fd);
    [fd, bytes, freshBytes] = [fresh, whole.length, whole.length];
  };
  writeAnew();
  return {
    read: <K extends Kind>(kind: K) => of(kind) as Map<string, Kinds[K]>,
    save(kind, key, value) {
      if (fd === undefined) return;
      if (value === undefined) of(kind).delete(String(key));
      else of(kind).set(String(key), value);
      const line = Buffer.from(toLine(kind, String(key), value));
      writeAll(fd, line);
      bytes += line.length;
      if (bytes < Math.max(SMALL_FILE_BYTES, GROWTH * freshBytes)) return;
      forgetOldMessages(of("message"));
      writeAnew();
    },
    close() {
      if (fd !== undefined) closeSync(fd);
      fd = undefined;
    },
  };
}

function forgetOldMessages(messages: Map<string, Kinds[Kind]>): void {
  for (const key of [...messages.keys()].slice(0, -MESSAGES_KEPT)) messages.delete(key);
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** How the simulator names its files; any other is not its own, and stays. */
const OURS = /^([0-9a-f-]{36}|contract-\d+|\d+)\.(original|clean|tail|image|video|png|pdf)$/;

/** Removes files that belong to nothing any more: an upload that a crash has cut short. */
export function tidy(folder: string, isKept: (stem: string) => boolean): void {
  const names = readdirSync(folder).filter((name) => OURS.test(name) && !isKept(name.slice(0, name.lastIndexOf("."))));
  removeFiles(names.map((name) => join(folder, name)));
}
