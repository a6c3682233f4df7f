import { constants } from "node:fs";
import { copyFile, open, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { isFailure, RetryableError } from "../../core/errors.ts";
import { memberIds } from "../../core/group.ts";
import { randomText } from "../../core/random.ts";
import type { SignRequest } from "../../core/request.ts";
import { hashFile } from "../../files/content.ts";
import { syncFolder } from "../../files/durable.ts";
import type { Claim } from "./claim.ts";
import { errnoOf } from "./look.ts";
import { folderOf, fromText, inFolderOf, nameOf, toText, withCounter } from "./names.ts";
import { makeBelow, moveTo } from "./place.ts";
import { resultsFor, resultsOnly } from "./together.ts";
import type { Whole } from "./whole.ts";

const EVIDENCE = "evidence.json";
/** What a template for the folder of results may name. */
export const RESULT_WORDS = ["requestId", "name", "date", "tenant", "reference"] as const;
const LONGEST = 120;

/** The folder of a claim's results, from the folder signed; by the template, whose parts are one folder each, below the folders that led to it. Pure. */
export function resultFolder(
  template: string,
  { id, joined = id, raw, claimedMs }: Pick<Claim, "id" | "joined" | "raw" | "claimedMs">,
  { facts, reference }: Pick<SignRequest, "facts" | "reference">,
  route = "",
): string {
  const tenant = facts["tenant"];
  const words: Record<(typeof RESULT_WORDS)[number], string> = {
    requestId: joined,
    name: toText(route ? nameOf(raw) : raw).replace(/\.[^.]{1,11}$/, ""),
    date: new Date(claimedMs).toISOString().slice(0, 10),
    tenant: typeof tenant === "string" ? tenant : "default",
    reference: reference ?? joined,
  };
  const parts = template.split("/").map((part) => {
    const filled = part.replaceAll(/\{(\w+)\}/g, (_, word: string) => (words as Record<string, string>)[word] ?? "");
    // Never a way up, nor a hidden folder, nor longer than a name can be.
    const safe = filled.replaceAll(/[/\\\p{C}]/gu, "_").replace(/^\.+/, "_");
    return [...safe.normalize("NFC")]
      .slice(0, LONGEST / 2)
      .join("")
      .trim();
  });
  const path = parts.filter((part) => part !== "").join("/");
  return inFolderOf(route, path === "" ? id : path);
}

/**
 * Brings results to an inbox of its own: copied, flushed, compared with their digests, and only then under their names.
 * Never overwrites; safe to repeat. While the inbox is away it throws, and they stay where they are.
 */
export function createDelivery({
  from,
  to,
  template,
}: {
  /** The folder signed of DATA_DIR. */
  from: string;
  /** That of the inbox. */
  to: string;
  template: string;
}) {
  return async function deliver(
    claim: Claim,
    { requests, earlier }: Whole,
    /** Of one request, what some of its documents have become: the evidence, which names them all, stays where it is. */
    only?: ReadonlySet<string>,
  ): Promise<string[]> {
    const order = [...memberIds({ id: claim.id, of: claim.requests ?? 1 }), ...(claim.signedAs ?? [])];
    const done = [...requests, ...earlier].filter(({ phase }) => phase === "done");
    const [first] = requests;
    if (done.length === 0 || !first) return [];
    const folder = resultFolder(template, claim, first, toText(folderOf(claim.raw)));
    await makeBelow(to, folder, 0o750);
    const names: string[] = [];
    for (const request of done) {
      const n = Math.max(order.indexOf(request.id) + 1, 1);
      const source = (name: string) => join(from, request.id, name);
      for (const { name, sha256 } of only ? resultsOnly(request, (id) => only.has(id)) : resultsFor(claim, request)) {
        const wished = name === "contract.pdf" ? toText(withCounter(name, n)) : name;
        names.push(await bringFile(source(name), join(to, folder), { name: wished, sha256 }));
      }
      if (only) continue;
      const { sha256 } = await hashFile(source(EVIDENCE));
      await bringFile(source(EVIDENCE), join(to, folder), { name: toText(withCounter(EVIDENCE, n)), sha256 });
    }
    await syncFolder(join(to, folder));
    return names.map((name) => `${basename(to)}/${folder}/${name}`);
  };
}

/**
 * Copies a file, flushed and compared with its digest, under the first name that is free in a folder, or has it already.
 * That name.
 */
export async function bringFile(
  from: string,
  folder: string,
  { name, sha256 }: { name: string; sha256: string },
): Promise<string> {
  const partial = join(folder, `.${randomText(9)}.part`);
  let isCopied = false;
  try {
    for (let n = 1; ;) {
      const free = toText(withCounter(fromText(name), n));
      const there = await hashFile(join(folder, free)).catch((error: unknown) => {
        if (errnoOf(error) === "ENOENT") return undefined;
        if (isFailure(error, "not-a-regular-file")) return { sha256: "" };
        throw error;
      });
      if (there?.sha256 === sha256) return free;
      if (!there) {
        if (!isCopied) await copyDurably(from, partial, sha256);
        const placed = await moveTo(partial, join(folder, free));
        if (placed === "placed") return free;
        // Somebody may have tidied up what looked half written.
        isCopied = placed !== "missing";
        if (!isCopied) continue;
      }
      n += 1;
    }
  } finally {
    await rm(partial, { force: true }).catch(() => {});
  }
}

async function copyDurably(from: string, to: string, sha256: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_EXCL);
  const file = await open(to, "r+");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  if ((await hashFile(to)).sha256 === sha256) return;
  throw new RetryableError("A result does not read back from the inbox's disk as it was written", {
    code: "disk-error",
  });
}
