import { rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { memberId } from "../../core/group.ts";
import { noticeOf } from "../../core/notice.ts";
import { Enclosure } from "../../core/identity.ts";
import type { SignRequest } from "../../core/request.ts";
import { hashFile } from "../../files/content.ts";
import { syncFolder } from "../../files/durable.ts";
import { makeOne, sidecarOf, type SetAside, within } from "./aside.ts";
import { type Claim, type Claims, type Note, PLACES } from "./claim.ts";
import type { OnSuccess } from "./config.ts";
import { ERROR_NOTE, READY, REQUEST } from "./ignore.ts";
import { folderOf, inFolderOf, toPath, toText, withCounter } from "./names.ts";
import { isOwnNote } from "./folder-notes.ts";
import type { Notes } from "./notes.ts";
import { find, makeBelow, moveTo, namesIn, type Path, shareTo } from "./place.ts";
import type { Whole } from "./whole.ts";

const Facts = z.object({
  documents: z.array(z.unknown()).catch([]),
  rest: z.object({ documents: z.array(z.array(z.unknown())) }).optional(),
});

const RETRY = (id: string) =>
  `Have the operator retry it (signpipe retry ${id}), or drop it into the inbox again to begin anew.`;

/** What a person can do about an end, by its name. */
const ADVICE: Record<string, (id: string) => string> = {
  failed: RETRY,
  expired: RETRY,
  refused: (id) => `Clear up why, then drop it into the inbox again. It was request ${id}.`,
  cancelled: (id) => `Drop it into the inbox again if it is to be signed after all. It was request ${id}.`,
};

export type Ends = ReturnType<typeof createEnds>;

/** Moves the originals to where they belong once a request is over. Every step can be repeated. */
export function createEnds({
  folders,
  claims,
  notes,
  setAside,
  onSuccess = "archive",
  resultsIn,
}: {
  folders: { archive: string; failed: string };
  /** What becomes of the originals of what is done. */
  onSuccess?: OnSuccess;
  /** The folder of a claim's results. */
  resultsIn: (claim: Claim, lead: SignRequest) => string;
  claims: Claims;
  notes: Notes;
  setAside: SetAside;
}) {
  /**
   * Archives the originals; what told of earlier failures, the sidecar, and what showed who the signer is, go: the file
   * was delivered.
   */
  async function archive(claim: Claim, { lead }: Whole): Promise<void> {
    const isKept = onSuccess === "keep";
    const place = toText(inFolderOf(folderOf(claim.raw), claim.id));
    const folder = isKept ? resultsIn(claim, lead) : join(folders.archive, place);
    if (isKept) await makeOne(folder);
    else if (onSuccess !== "delete" || claim.form === "folder") await makeBelow(folders.archive, place, 0o700);
    if (onSuccess === "delete") return await removeAll(claim, { lead, folder });
    const kept: Path[] = [];
    for (const { raw, as } of documentsOf(claim)) {
      for (let n = 1; ; n++) {
        const target = toPath(folder, withCounter(raw, n));
        if ((await moveTo(claims.at(claim.id, as), target)) === "taken") continue;
        kept.push(target);
        break;
      }
    }
    await syncFolder(folder);
    if (!isKept) await syncFolder(dirname(folder));
    if (claim.aside) await takeBack(claim, { raw: claim.aside.raw, kept, request: lead });
    else await forgetFailure(claim);
    if (claim.form === "folder") await archiveRest(claim, folder);
    claims.finish(claim);
  }

  /** Where nobody wants to have the originals back: the results begin with them, and were verified. */
  async function removeAll(claim: Claim, { lead, folder }: { lead: SignRequest; folder: string }): Promise<void> {
    const own = documentsOf(claim).map(({ as }) => claims.at(claim.id, as));
    if (claim.aside) await takeBack(claim, { raw: claim.aside.raw, kept: own, request: lead });
    else await forgetFailure(claim);
    if (claim.form === "folder") await archiveRest(claim, folder);
    await rmdir(folder).catch(() => {}); // nothing else lay in it
    for (const path of own) await rm(path, { force: true });
    claims.finish(claim);
  }

  /** What else lay in a folder, such as hidden files, was nobody's business; it is still whose it was. */
  async function archiveRest(claim: Claim, to: string): Promise<void> {
    const from = claims.at(claim.id, PLACES.folder);
    const rest = (await namesIn(from)).filter((name) => name !== REQUEST && name !== READY);
    for (const name of rest) {
      if (name === ERROR_NOTE && (await isOwnNote(toPath(from, name)))) continue;
      for (let n = 1; (await moveTo(toPath(from, name), toPath(to, withCounter(name, n)))) === "taken"; n++);
    }
    if (rest.length > 0) await syncFolder(to);
  }

  /** Removes the copies that an attempt before had given back, where they are still what was signed. */
  async function takeBack(
    claim: Claim,
    { raw, kept, request }: { raw: string; kept: Path[]; request: SignRequest },
  ): Promise<void> {
    const target = toPath(folders.failed, raw);
    if (claim.form === "folder") {
      for (const [i, part] of documentsOf(claim).entries()) await removeCopy(within(target, part.raw), kept[i]);
      const sent = Enclosure.array().catch([]).parse(request.facts["enclosures"]);
      for (const part of claim.parts) {
        const same = sent.find(({ name }) => name === part.role);
        if (same) await removeSame(within(target, part.raw), same);
      }
      for (const name of await namesIn(claims.at(claim.id, PLACES.folder)))
        await rm(within(target, name), { force: true });
      await rmdir(target).catch(() => {});
    } else {
      await removeCopy(target, kept[0]);
    }
    if (await find(target)) return;
    await rm(toPath(folders.failed, sidecarOf(raw)), { force: true });
    await notes.remove("failed", raw);
  }

  /** The notes of an earlier attempt under the same name, whose file the person put back into the inbox. */
  async function forgetFailure({ raw }: Pick<Claim, "raw">): Promise<void> {
    if (!notes.read("failed", raw) || (await find(toPath(folders.failed, raw)))) return;
    await rm(toPath(folders.failed, sidecarOf(raw)), { force: true });
    await notes.remove("failed", raw);
  }

  return {
    archive,
    forgetFailure,

    /**
     * Gives the files of a claim back that did not end well, all of them. They stay in .work too while a request of it can
     * be retried.
     */
    async giveBack(claim: Claim, whole: Whole): Promise<void> {
      const keep = whole.requests.some(isRetriable);
      await completeEnclosures(claim, whole);
      const note = isDivided(claim) ? toSharedNote(claim, whole) : toNote(whole.lead, keep);
      await setAside(claim, { where: "failed", note, keep });
    },
  };

  /** What showed who the signer is was erased with the first request that was done. One that was not still has it. */
  async function completeEnclosures(claim: Claim, { requests }: Whole): Promise<void> {
    const other = requests.find(({ id, phase }) => id !== claim.id && phase !== "done");
    if (!other) return;
    for (const { as, role } of claim.parts) {
      if (role !== undefined) await shareTo(claims.at(other.id, as), claims.at(claim.id, as));
    }
  }
}

function isRetriable({ phase }: SignRequest): boolean {
  return phase === "failed" || phase === "expired";
}

function isDivided({ requests, signedAs }: Claim): boolean {
  return requests !== undefined || signedAs !== undefined;
}

/** The note of a folder of which a part may be signed. */
function toSharedNote(claim: Claim, { requests, lead, state, updatedMs }: Whole): Note {
  const open = requests.filter(({ phase }) => phase !== "done");
  const left = open.reduce((sum, request) => sum + documentsIn(request, requests), 0);
  const reasons = [...new Set(open.map((request) => asClause(reasonOf(request))))].join("; ");
  return {
    code: lead.failure?.code ?? state,
    message: `${left} of ${documentsOf(claim).length} documents did not come back signed: ${reasons}. ${adviceOn(open)}`,
    state,
    stage: lead.failure?.stage ?? lead.stage,
    request_id: claim.id,
    requests: requests.map(({ id, phase }) => ({ request_id: id, state: phase })),
    attempts: lead.attempt,
    retriable: open.some(isRetriable),
    at: new Date(updatedMs).toISOString(),
  };
}

/** How many documents a request has; the first has those of the others as well, as long as these are not made. */
function documentsIn({ id, facts }: SignRequest, all: readonly SignRequest[]): number {
  const { documents, rest } = Facts.parse(facts);
  const isUnmade = (i: number) => !all.some((one) => one.id === memberId(id, i + 2));
  return [documents, ...(rest?.documents ?? []).filter((_, i) => isUnmade(i))].flat().length;
}

/** What a person can do about requests of a folder that did not end well. */
function adviceOn(open: readonly SignRequest[]): string {
  const commands = (word: string, ids: SignRequest[]) => ids.map(({ id }) => `signpipe ${word} ${id}`).join(", ");
  const signed = open.filter(({ facts }) => facts["signedMs"] !== undefined);
  if (signed.length > 0) {
    const todo = signed.every(isRetriable)
      ? `retry them (${commands("retry", signed)})`
      : `look at them (${commands("show", signed)})`;
    return `Some of these are signed already, so do not drop the folder again: have the operator ${todo}.`;
  }
  const again = "drop the folder into the inbox again: what is signed is not signed a second time";
  const retriable = open.filter(isRetriable);
  if (retriable.length > 0) return `Have the operator retry them (${commands("retry", retriable)}), or ${again}.`;
  return `Clear up why, then ${again}.`;
}

function reasonOf(request: SignRequest): string {
  const { phase, failure, facts } = request;
  const despite = facts["signedDespite"] === undefined ? undefined : noticeOf(request)?.message;
  return [failure?.message ?? `The request was ${phase}`, despite].filter(Boolean).map(asClause).join(". ");
}

function toNote(request: SignRequest, retriable: boolean): Note {
  const { id, phase, failure, stage, attempt, facts, updatedMs } = request;
  const isSigned = facts["signedMs"] !== undefined;
  const advice = isSigned
    ? `It is signed already, so do not drop it again: have the operator ${retriable ? `retry it (signpipe retry ${id})` : `look at it (signpipe show ${id})`}.`
    : ADVICE[phase]?.(id);
  return {
    code: failure?.code ?? phase,
    message: `${asClause(reasonOf(request))}. ${advice ?? ""}`,
    state: phase,
    stage: failure?.stage ?? stage,
    request_id: id,
    attempts: attempt,
    retriable,
    at: new Date(updatedMs).toISOString(),
  };
}

function asClause(sentence: string | undefined): string {
  return (sentence ?? "").replace(/[.\s]*$/, "");
}

/** The PDFs of a claim: what is to be signed. */
function documentsOf({ parts }: Claim): Claim["parts"] {
  return parts.filter(({ role }) => role === undefined);
}

/** Removes a file that has these bytes. The one that it is a copy of was erased when the request was over. */
async function removeSame(path: Path, { sizeBytes, sha256 }: Pick<Enclosure, "sizeBytes" | "sha256">): Promise<void> {
  const there = await find(path);
  if (!there?.isFile() || there.size !== sizeBytes) return;
  const text = Buffer.from(path).toString("utf8");
  // A name that is no UTF-8 leads nowhere as text: then the copy stays, with the person whose it is.
  if (!Buffer.from(text).equals(Buffer.from(path))) return;
  if ((await hashFile(text)).sha256 === sha256) await rm(path, { force: true });
}

async function removeCopy(copy: Path, original: Path | undefined): Promise<void> {
  const [there, kept] = await Promise.all([find(copy), original && find(original)]);
  if (!there?.isFile() || !kept || there.size !== kept.size) return;
  const isLink = there.ino === kept.ino && there.dev === kept.dev;
  if (isLink || (await isEqual(copy, original))) await rm(copy, { force: true });
}

async function isEqual(a: Path, b: Path | undefined): Promise<boolean> {
  // Names that are no UTF-8 are not compared: then the copy stays, which harms nobody.
  if (typeof a !== "string" || typeof b !== "string") return false;
  const [one, other] = await Promise.all([hashFile(a), hashFile(b)]);
  return one.sha256 === other.sha256;
}
