import { mkdir, readdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { noticeOf } from "../../core/notice.ts";
import { Enclosure } from "../../core/identity.ts";
import type { SignRequest } from "../../core/request.ts";
import { hashFile } from "../../files/content.ts";
import { syncFolder } from "../../files/durable.ts";
import { sidecarOf, type SetAside, within } from "./aside.ts";
import { type Claim, type Claims, type Note, PLACES } from "./claim.ts";
import { READY, REQUEST } from "./ignore.ts";
import { errnoOf } from "./look.ts";
import { toPath, withCounter } from "./names.ts";
import type { Notes } from "./notes.ts";
import { find, moveTo, type Path } from "./place.ts";

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
}: {
  folders: { archive: string; failed: string };
  claims: Claims;
  notes: Notes;
  setAside: SetAside;
}) {
  /**
   * Archives the originals; what told of earlier failures, the sidecar, and what showed who the signer is, go: the file
   * was delivered.
   */
  async function archive(claim: Claim, request: SignRequest): Promise<void> {
    const folder = join(folders.archive, claim.id);
    await mkdir(folder, { recursive: true, mode: 0o700 });
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
    await syncFolder(folders.archive);
    if (claim.aside) await takeBack(claim, { raw: claim.aside.raw, kept, request });
    else await forgetFailure(claim);
    if (claim.form === "folder") await archiveRest(claim, folder);
    claims.finish(claim);
  }

  /** What else lay in a folder, such as hidden files, was nobody's business; it is still whose it was. */
  async function archiveRest(claim: Claim, to: string): Promise<void> {
    const from = claims.at(claim.id, PLACES.folder);
    const rest = (await namesIn(from)).filter((name) => name !== REQUEST && name !== READY);
    for (const name of rest) {
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

    /** Gives the files of a request back that ended otherwise. They stay in .work too while it can be retried. */
    async giveBack(claim: Claim, request: SignRequest): Promise<void> {
      const keep = request.phase === "failed" || request.phase === "expired";
      await setAside(claim, { where: "failed", note: toNote(request, keep), keep });
    },
  };
}

function toNote(request: SignRequest, retriable: boolean): Note {
  const { id, phase, failure, stage, attempt, facts, updatedMs } = request;
  const isSigned = facts["signedMs"] !== undefined;
  const advice = isSigned
    ? `It is signed already, so do not drop it again: have the operator ${retriable ? `retry it (signpipe retry ${id})` : `look at it (signpipe show ${id})`}.`
    : ADVICE[phase]?.(id);
  const despite = facts["signedDespite"] === undefined ? undefined : noticeOf(request)?.message;
  const why = [failure?.message ?? `The request was ${phase}`, despite].filter(Boolean).map(asClause).join(". ");
  return {
    code: failure?.code ?? phase,
    message: `${why}. ${advice ?? ""}`,
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

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder, { encoding: "latin1" });
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  }
}
