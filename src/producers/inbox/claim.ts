import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { RequestId, toRequestId } from "../../core/request.ts";
import { replaceDurably } from "../../files/durable.ts";
import { errnoOf, type Mark } from "./look.ts";
import { type RawName, toPath } from "./names.ts";

/** Where things are in the folder of a claim. Their own names are kept in claim.json only: no path is made of them. */
export const PLACES = { claim: "claim.json", sidecar: "sidecar.json", folder: "folder", special: "special" } as const;

const Mark = z.object({ sizeBytes: z.number(), modifiedMs: z.number(), inode: z.number() });

export const Note = z.object({
  code: z.string(),
  /** One sentence for people: what is the matter, and what to do about it. */
  message: z.string(),
  /** A word for the status: "failed", "refused", "cancelled", "expired", "duplicate". */
  state: z.string(),
  stage: z.string().optional(),
  request_id: z.string().optional(),
  attempts: z.number().optional(),
  /** The earlier request that this is a duplicate of. */
  duplicate_of: z.object({ request_id: z.string(), state: z.string() }).optional(),
  retriable: z.boolean(),
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
  /** The PDFs in order: their own names, and the names they have here. */
  parts: z.array(z.object({ raw: z.string(), as: z.string() })),
  /** Where it is set aside, or was, while it can still be retried. */
  aside: z
    .object({ where: z.enum(["failed", "duplicates"]), raw: z.string(), keep: z.boolean(), note: Note })
    .optional(),
});
export type Claim = z.infer<typeof Claim>;

/** What is to be taken. */
export interface Wanted {
  form: Claim["form"];
  raw: RawName;
  sidecar?: RawName | undefined;
  mark?: Mark | undefined;
}

export type Claims = ReturnType<typeof createClaims>;

/**
 * Takes things out of the inbox. The rename decides: whoever gets it has it, everybody else finds nothing there. Each
 * step can be repeated after a crash; claim.json is written before the rename, and removed last of all.
 */
export function createClaims({ inbox, work, now }: { inbox: string; work: string; now: () => number }) {
  const folderOf = (id: RequestId) => join(work, id);
  const at = (id: RequestId, name: string) => join(work, id, name);

  /** Undefined when somebody else was faster. Throws what the file system says; then nothing was taken. */
  function take({ form, raw, sidecar, mark }: Wanted): Claim | undefined {
    const id = toRequestId(randomBytes(16));
    const as = form === "file" ? "1.pdf" : PLACES[form];
    const parts = form === "file" ? [{ raw, as }] : [];
    const claim: Claim = { format: 1, id, form, raw, claimedMs: Math.round(now()), parts };
    if (sidecar !== undefined) claim.sidecar = sidecar;
    if (mark) claim.mark = mark;
    try {
      mkdirSync(folderOf(id), { mode: 0o700 });
      writeFileSync(at(id, PLACES.claim), JSON.stringify(claim), { mode: 0o600 });
      renameSync(toPath(inbox, raw), at(id, as));
    } catch (error) {
      drop(id);
      if (errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
    try {
      takeSidecar(claim);
    } catch {
      // The PDF is ours: its intake tries again, and knows what to do when that does not help.
    }
    return claim;
  }

  /** Safe to repeat. A sidecar that is not there any more is found missing later on. */
  function takeSidecar({ id, sidecar }: Claim): void {
    if (sidecar === undefined) return;
    try {
      renameSync(toPath(inbox, sidecar), at(id, PLACES.sidecar));
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") throw error;
    }
  }

  /** Forgets a claim of which nothing is left. A folder that is not empty stays, with what is in it. */
  function drop(id: RequestId): void {
    for (const remove of [() => unlinkSync(at(id, PLACES.claim)), () => rmdirSync(folderOf(id))]) {
      try {
        remove();
      } catch (error) {
        if (errnoOf(error) !== "ENOENT" && errnoOf(error) !== "ENOTEMPTY") throw error;
      }
    }
  }

  return {
    take,
    takeSidecar,
    drop,
    folderOf,
    at,

    /** Undefined when there is none: not ours, or over. "damaged" when it cannot be read. */
    read(id: RequestId): Claim | "damaged" | undefined {
      try {
        return Claim.parse(JSON.parse(readFileSync(at(id, PLACES.claim), "utf8")));
      } catch (error) {
        if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
        if (errnoOf(error) !== "") throw error;
        return "damaged";
      }
    },

    /** Writes a changed claim as a whole. */
    async save(claim: Claim): Promise<void> {
      await replaceDurably(at(claim.id, PLACES.claim), JSON.stringify(claim));
    },

    /** Removes what was given along with the PDFs, and the claim itself. The PDFs must be elsewhere by now. */
    finish({ id }: Claim): void {
      rmSync(at(id, PLACES.sidecar), { force: true });
      rmSync(at(id, PLACES.folder), { recursive: true, force: true });
      drop(id);
    },
  };
}
