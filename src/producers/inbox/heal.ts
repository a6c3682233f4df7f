import { readdir, rmdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { GroupPlace, memberIds } from "../../core/group.ts";
import { ENCLOSURES } from "../../core/identity.ts";
import { RequestId, type SignRequest, StoredDocument } from "../../core/request.ts";
import type { Pipeline } from "../../queues/pipeline-types.ts";
import { namedFiles, readManifest } from "../manifest.ts";
import { type Claim, type Claims, PLACES } from "./claim.ts";
import type { Follow } from "./follow.ts";
import { REQUEST } from "./ignore.ts";
import { errnoOf } from "./look.ts";
import { fromText, type RawName } from "./names.ts";
import { find } from "./place.ts";
import { readSmall } from "./read-request.ts";
import type { StatusFiles } from "./status-file.ts";
import { readWhole } from "./whole.ts";

/** An empty folder in .work may be an upload that is just beginning; after this it is a remainder. */
const REMAINDER_MS = 3_600_000;

/**
 * Matches what is in .work against the records, as after a crash: a claim without a record is taken in again, one
 * with an open record goes on, one whose request is over is moved to where it belongs. Nothing stays there unnoticed.
 */
export function createHeal({
  work,
  claims,
  pipeline,
  follow,
  statusFiles,
  takeIn,
  now,
}: {
  work: string;
  claims: Claims;
  pipeline: Pick<Pipeline, "find">;
  follow: Follow;
  statusFiles: StatusFiles;
  takeIn: (claim: Claim) => void;
  now: () => number;
}) {
  return {
    /** What is there now; only this is healed, because what is claimed from here on is looked after already. */
    async list(): Promise<RequestId[]> {
      const unsettled = claims.unsettled();
      for (const claim of unsettled) takeIn(claim);
      const begun = new Set(unsettled.map(({ id }) => id));
      return (await readdir(work)).filter((name) => RequestId.safeParse(name).success && !begun.has(name));
    },

    /** Throws when Redis, or the disk, does not answer. */
    async one(id: RequestId): Promise<void> {
      const read = claims.read(id);
      if (!read) return await removeRemainder(id);
      const request = await pipeline.find(id);
      const claim = read === "damaged" ? await rebuild(id, request) : read;
      if (!claim) return;
      if (claim.aside && !claim.aside.keep) return takeIn(claim);
      const whole = await readWhole(pipeline, claim);
      if (!whole) {
        if (await hasNothing(claim)) claims.drop(id);
        else takeIn(claim);
        return;
      }
      const isCurrent = !whole.isOver && (await statusFiles.isCurrent(claim, whole));
      if (!isCurrent) await follow.inTurn(id, () => follow.apply(id));
    },
  };

  /** Whether the crash came before the rename: then the file is still in the inbox. */
  async function hasNothing({ id, form, parts }: Claim): Promise<boolean> {
    const names = [...parts.map(({ as }) => as), ...(form === "file" ? [] : [PLACES[form], PLACES.table])];
    const found = await Promise.all(names.map((name) => find(claims.at(id, name))));
    return found.every((one) => one === undefined);
  }

  /** claim.json did not survive (the power failed): the names are in the record, or lost; the files are not. */
  async function rebuild(id: RequestId, request: SignRequest | undefined): Promise<Claim | undefined> {
    const names = await readdir(claims.folderOf(id));
    const pdfs = names.filter((name) => /^\d+\.pdf$/.test(name)).sort((a, b) => parseInt(a, 10) - parseInt(b, 10));
    const form = names.includes(PLACES.folder) ? "folder" : names.includes(PLACES.special) ? "special" : "file";
    if (pdfs.length === 0 && form === "file") {
      claims.drop(id);
      return undefined;
    }
    const of = GroupPlace.safeParse(request?.facts["group"]).data?.of ?? 1;
    const documents = await documentsOf(request, of);
    const own = namesGiven(id);
    const parts: Claim["parts"] = pdfs.map((as, i) => {
      // Those of others of its group have names of their own there: as many as there are files are in the same order.
      const byOrder = documents.length === pdfs.length ? documents[i] : undefined;
      const known = documents.find((one) => one.id === `${id}/${as}`) ?? byOrder;
      return { as, raw: fromText((known?.name ?? `recovered-${id}-${as}`).replaceAll(/[/\0]/g, "_")) };
    });
    for (const role of ENCLOSURES) {
      if (names.includes(role)) parts.push({ as: role, raw: own.get(role) ?? role, role });
    }
    const claim: Claim = {
      format: 1,
      id,
      form,
      raw: form === "file" ? (parts[0]?.raw ?? id) : `recovered-${id}`,
      claimedMs: Math.round(now()),
      parts,
      ...(of > 1 && { requests: of }),
      ...(names.includes(PLACES.sidecar) && { sidecar: `${parts[0]?.raw ?? id}.json` }),
    };
    await claims.save(claim);
    return claim;
  }

  /** The documents of a request and of the others of its group, in order. */
  async function documentsOf(first: SignRequest | undefined, of: number): Promise<StoredDocument[]> {
    if (!first) return [];
    const others = await Promise.all(
      memberIds({ id: first.id, of })
        .slice(1)
        .map((id) => pipeline.find(id)),
    );
    return [first, ...others].flatMap((one) => StoredDocument.array().catch([]).parse(one?.facts["documents"]));
  }

  /** What the files were called that a folder's manifest names: it stays in the folder, and says so. */
  function namesGiven(id: RequestId): Map<string, RawName> {
    const read = readManifest(readQuietly(join(claims.at(id, PLACES.folder), REQUEST)) ?? "");
    const files = read.ok ? namedFiles(read.manifest.identity) : [];
    return new Map(files.map(({ role, name }) => [role, fromText(name)]));
  }

  async function removeRemainder(id: RequestId): Promise<void> {
    try {
      const { mtimeMs } = await stat(claims.folderOf(id));
      if (Date.now() - mtimeMs > REMAINDER_MS) await rmdir(claims.folderOf(id));
    } catch (error) {
      if (!["ENOENT", "ENOTEMPTY", "ENOTDIR"].includes(errnoOf(error))) throw error;
    }
  }
}

/** A file that cannot be read tells no names; whoever takes the claim in says what is the matter with it. */
function readQuietly(path: string): Buffer | undefined {
  try {
    return readSmall(path);
  } catch {
    return undefined;
  }
}
