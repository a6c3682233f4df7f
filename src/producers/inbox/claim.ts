import { randomBytes } from "node:crypto";
import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { memberIds } from "../../core/group.ts";
import { ENCLOSURES } from "../../core/identity.ts";
import { RequestId, toRequestId } from "../../core/request.ts";
import { replaceDurably } from "../../files/durable.ts";
import { errnoOf, type Mark } from "./look.ts";
import { nameOf, type RawName, toPath } from "./names.ts";
import type { Source } from "./source.ts";
import type { Stock } from "./stock.ts";

/** Where things are in the folder of a claim. Their own names are kept in claim.json only: no path is made of them. */
export const PLACES = {
  claim: "claim.json",
  sidecar: "sidecar.json",
  folder: "folder",
  special: "special",
  table: "table",
} as const;

/** What another request of the claim's group has in its own folder, as second names of the same files. */
const SHARED = new RegExp(`^(?:\\d+\\.pdf|${ENCLOSURES.join("|")})$`);

/** What a crash in the middle of a write leaves behind; the whole is elsewhere. */
const HALF_WRITTEN = /^\..*\.part$|^(?:\d+\.pdf|[a-z_]+)\.copy$/;

const Mark = z.object({ sizeBytes: z.number(), modifiedMs: z.number(), inode: z.number() });

export const Note = z.object({
  code: z.string(),
  /** One sentence for people: what is the matter, and what to do about it. */
  message: z.string(),
  /** A word for the status: "failed", "refused", "cancelled", "expired", "duplicate". */
  state: z.string(),
  stage: z.string().optional(),
  request_id: z.string().optional(),
  /** The request of an earlier attempt, of one that came back again without having become a request. */
  retry_of: z.string().optional(),
  attempts: z.number().optional(),
  /** The earlier request that this is a duplicate of. */
  duplicate_of: z.object({ request_id: z.string(), state: z.string() }).optional(),
  retriable: z.boolean(),
  /** What became of each, where there are several. */
  requests: z.array(z.object({ request_id: z.string(), state: z.string() })).optional(),
  at: z.string(),
});
export type Note = z.infer<typeof Note>;

/** What was taken out of the inbox, and how to give it back. Kept beside it in .work, so that no crash forgets it. */
export const Claim = z.object({
  format: z.literal(1),
  id: RequestId,
  form: z.enum(["file", "folder", "special"]),
  raw: z.string().min(1),
  /** The sidecar's own name. */
  sidecar: z.string().optional(),
  claimedMs: z.number(),
  mark: Mark.optional(),
  /**
   * The documents in order, then what the manifest names: their own names, and the names they have here, which end in
   * .pdf whatever they are, since that is not known yet when they are taken. `role` is set for what is not to be signed,
   * but shows who the signer is.
   */
  parts: z.array(z.object({ raw: z.string(), as: z.string(), role: z.enum(ENCLOSURES).optional() })),
  /** How many requests its documents are in, where one cannot take them; its id is that of their group. */
  requests: z.int().min(2).optional(),
  /** The request of another claim that its document has joined, or was about to: what that says counts. */
  joined: RequestId.optional(),
  /** Of what joins: the request of an earlier attempt, as which it was not signed. */
  retryOf: RequestId.optional(),
  /** Requests of earlier attempts as which some of its documents were signed: these are in no request of this claim. */
  signedAs: z.array(RequestId).optional(),
  /** Where it is set aside, or was, while it can still be retried. `isUnderWay` until all of it is there, with its note. */
  aside: z
    .object({
      where: z.enum(["failed", "duplicates"]),
      raw: z.string(),
      keep: z.boolean(),
      note: Note,
      isUnderWay: z.boolean().optional(),
    })
    .optional(),
});
export type Claim = z.infer<typeof Claim>;

/** What is to be taken. */
export interface Wanted {
  form: Claim["form"];
  raw: RawName;
  sidecar?: RawName | undefined;
  mark?: Mark | undefined;
  /** What it looked like, where it is copied and stays. */
  print?: string | undefined;
}

/** What is taken together, and not in its folders yet. `isUnderWay` until all of it is taken, or copied, which may be long. */
interface List {
  path: string;
  open: Set<RequestId>;
  isUnderWay: boolean;
}

export type Claims = ReturnType<typeof createClaims>;

/**
 * Takes things out of the inbox. The rename decides: whoever gets it has it, everybody else finds nothing there. Each
 * step can be repeated after a crash: what is taken is written down before it is taken, and struck out last of all.
 *
 * Many are taken at once, into one folder and with one list: a folder and a file for each would cost ten times as
 * much as the rename itself, and the last file would wait that long in the open. They get their folders afterwards.
 */
export function createClaims({
  inbox,
  work,
  now,
  stock,
  source,
}: {
  inbox: string;
  work: string;
  now: () => number;
  /** Copies instead, where the inbox is only read. */
  source?: Pick<Source, "copy" | "bringIn" | "rawOf"> | undefined;
  /** Copies of what is claimed, which go with the claim. */
  stock?: Pick<Stock, "drop"> | undefined;
}) {
  const folderOf = (id: RequestId) => join(work, id);
  const at = (id: RequestId, name: string) => join(work, id, name);
  const gate = join(work, "gate");
  /** Which list a claim is on that is not in its folder yet, and which these are of each list. */
  const lists = new Map<RequestId, List>();
  const known = new Map<string, List>();
  /** Counts up whenever all of these are left to whoever comes next. */
  let term = 0;

  /**
   * Takes what it can; what somebody else was faster with is left out. `failed` is told of everything that could not
   * be taken and stays where it is. Throws what the file system says when nothing can be taken at all. Nothing of what
   * is taken may be settled in before all is, because the list would go with the last one that was.
   */
  async function takeAll(
    wanted: readonly Wanted[],
    failed: (wanted: Wanted, error: unknown) => void,
    breathe: () => Promise<void>,
  ): Promise<Claim[]> {
    const claims: Claim[] = [];
    const random = randomBytes(16 * wanted.length); // at once: asking for each takes longer than the rest of it
    for (const [i, one] of wanted.entries()) {
      claims.push(toClaim(one, toRequestId(random.subarray(16 * i))));
      await breathe();
    }
    makeGate();
    const list = listAt(join(gate, `${toRequestId(randomBytes(16))}.list`));
    const lines = claims.map((claim) => `${JSON.stringify(claim)}\n`).join("");
    list.isUnderWay = true;
    try {
      await writeFile(list.path, lines, { mode: 0o600, flush: true });
    } catch (error) {
      forgetList(list); // nothing on it was taken
      throw error;
    }
    let taken: Claim[] = [];
    let takenIn = term;
    for (const [i, claim] of claims.entries()) {
      try {
        const isTaken = source ? await source.copy(claim, wanted[i] as Wanted) : takeOne(claim);
        // What was taken before the inbox was away is found by whoever came next, and if that is us.
        if (takenIn !== term) taken = [];
        takenIn = term;
        if (isTaken) {
          enter(claim.id, list);
          if (!source) takeSidecarAlong(claim);
          taken.push(claim);
        }
      } catch (error) {
        failed(wanted[i] as Wanted, error);
      }
      await breathe();
    }
    list.isUnderWay = false;
    if (takenIn !== term) return [];
    if (list.open.size === 0) forgetList(list);
    return taken;
  }

  function listAt(path: string): List {
    const list = known.get(path) ?? { path, open: new Set(), isUnderWay: false };
    known.set(path, list);
    return list;
  }

  function enter(id: RequestId, list: List): void {
    list.open.add(id);
    lists.set(id, list);
  }

  function forgetList({ path }: List): void {
    known.delete(path);
    rmSync(path, { force: true });
  }

  /** Not with its parents: that would say "not there" of a disk that is read-only. */
  function makeGate(): void {
    try {
      mkdirSync(gate, { mode: 0o700 });
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
    }
  }

  /** False when somebody else was faster. */
  function takeOne(claim: Claim): boolean {
    try {
      renameSync(toPath(inbox, claim.raw), `${gate}/${claim.id}`);
      return true;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return false;
      throw error;
    }
  }

  function takeSidecarAlong(claim: Claim): void {
    try {
      takeSidecar(claim);
    } catch {
      // The PDF is ours: its intake tries again, and knows what to do when that does not help.
    }
  }

  function toClaim({ form, raw, sidecar, mark }: Wanted, id: RequestId): Claim {
    const parts = form === "file" ? [{ raw: nameOf(raw), as: "1.pdf" }] : [];
    const claim: Claim = { format: 1, id, form, raw, claimedMs: Math.round(now()), parts };
    if (sidecar !== undefined) claim.sidecar = sidecar;
    if (mark) claim.mark = mark;
    return claim;
  }

  /** Gives a claim its own folder. Safe to repeat. */
  function settleIn(claim: Claim): void {
    const { id, form } = claim;
    if (!lists.has(id)) return;
    try {
      mkdirSync(folderOf(id), { mode: 0o700 });
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
    }
    const written = read(id);
    if (written === undefined || written === "damaged") {
      writeFileSync(at(id, PLACES.claim), JSON.stringify(claim), { mode: 0o600 });
    }
    source?.bringIn(id);
    renameIfThere(join(gate, id), at(id, form === "file" ? "1.pdf" : PLACES[form]));
    renameIfThere(join(gate, `${id}.json`), at(id, PLACES.sidecar));
    strikeOut(id);
  }

  function strikeOut(id: RequestId): void {
    const list = lists.get(id);
    lists.delete(id);
    list?.open.delete(id);
    if (list?.open.size === 0 && !list.isUnderWay) forgetList(list);
  }

  /** Claims that a crash left without their folders; not those that are being taken here and now. */
  function unsettled(): Claim[] {
    const names = readNames(gate);
    const there = new Set(
      names
        .map((name) => name.replace(/\.json$/, ""))
        .filter((id) => RequestId.safeParse(id).success && !lists.has(id)),
    );
    const found: Claim[] = [];
    for (const name of names.filter((one) => one.endsWith(".list"))) {
      const list = listAt(join(gate, name));
      for (const claim of readList(list.path)) {
        if (!there.delete(claim.id)) continue;
        enter(claim.id, list);
        found.push(claim);
      }
      if (list.open.size === 0 && !list.isUnderWay) forgetList(list);
    }
    // Not on any list that can be read: the names are lost, the files are not.
    for (const id of there) {
      enter(id, listAt(join(gate, `${id}.list`)));
      const raw = source?.rawOf(id) ?? `recovered-${id}.pdf`;
      const sidecar = names.includes(`${id}.json`) && { sidecar: `${raw}.json` };
      const isFolder = lstatSync(join(gate, id), { throwIfNoEntry: false })?.isDirectory() ?? false;
      const parts = isFolder ? [] : [{ raw: nameOf(raw), as: "1.pdf" }];
      found.push({
        format: 1,
        id,
        form: isFolder ? "folder" : "file",
        raw,
        claimedMs: Math.round(now()),
        parts,
        ...sidecar,
      });
    }
    return found;
  }

  function read(id: RequestId): Claim | "damaged" | undefined {
    try {
      return Claim.parse(JSON.parse(readFileSync(at(id, PLACES.claim), "utf8")));
    } catch (error) {
      if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
      if (errnoOf(error) !== "") throw error;
      return "damaged";
    }
  }

  /** Safe to repeat. A sidecar that is not there any more is found missing later on. */
  function takeSidecar({ id, sidecar }: Claim): void {
    if (sidecar === undefined || source) return;
    renameIfThere(toPath(inbox, sidecar), lists.has(id) ? join(gate, `${id}.json`) : at(id, PLACES.sidecar));
  }

  /** Forgets a claim of which nothing is left. A folder that is not empty stays, with what is in it. */
  function drop(id: RequestId): void {
    rmSync(at(id, PLACES.claim), { force: true });
    try {
      rmdirSync(folderOf(id));
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return;
      if (errnoOf(error) !== "ENOTEMPTY") throw error;
      const names = readdirSync(folderOf(id));
      if (!names.every((name) => HALF_WRITTEN.test(name))) return;
      for (const name of names) rmSync(at(id, name), { force: true });
      rmdirSync(folderOf(id));
    }
  }

  function dropShared(id: RequestId): void {
    for (const name of readNames(folderOf(id)).filter((one) => SHARED.test(one))) rmSync(at(id, name), { force: true });
    try {
      rmdirSync(folderOf(id));
    } catch (error) {
      if (errnoOf(error) !== "ENOENT" && errnoOf(error) !== "ENOTEMPTY") throw error;
    }
  }

  return {
    /** Whoever comes next finds what is not in its folder yet. */
    forgetUnsettled(): void {
      term += 1;
      lists.clear();
      for (const { open } of known.values()) open.clear();
    },
    takeAll,
    settleIn,
    unsettled,
    takeSidecar,
    drop,
    folderOf,
    at,

    /** Undefined when there is none: not ours, or over. "damaged" when it cannot be read. */
    read,

    /** Writes a changed claim as a whole. */
    async save(claim: Claim): Promise<void> {
      await replaceDurably(at(claim.id, PLACES.claim), JSON.stringify(claim));
    },

    /**
     * Removes what was given along with the PDFs, what the others of its group share with it, and the claim itself. The
     * PDFs must be elsewhere by now.
     */
    finish({ id, parts, requests: of = 1 }: Claim): void {
      for (const member of memberIds({ id, of }).slice(1)) dropShared(member);
      for (const member of stock ? memberIds({ id, of }) : []) stock?.drop(member);
      for (const { as, role } of parts) if (role !== undefined) rmSync(at(id, as), { force: true });
      rmSync(at(id, PLACES.sidecar), { force: true });
      rmSync(at(id, PLACES.folder), { recursive: true, force: true });
      rmSync(at(id, PLACES.table), { force: true });
      drop(id);
    },

    /** Removes what was kept for a retry of a claim that was given back. */
    release(id: RequestId): void {
      const claim = read(id);
      if (claim === undefined || claim === "damaged" || !claim.aside?.keep) return;
      for (const { as } of claim.parts) rmSync(at(id, as), { force: true });
      this.finish(claim);
    },
  };
}

function renameIfThere(from: string | Buffer, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
}

function readNames(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** The claims on a list, as far as it was written. */
function readList(path: string): Claim[] {
  const claims: Claim[] = [];
  for (const line of readFileSync(path, "utf8").split("\n")) {
    try {
      claims.push(Claim.parse(JSON.parse(line)));
    } catch {
      // The crash came while this line was written: nothing on it, or behind it, was taken.
    }
  }
  return claims;
}
