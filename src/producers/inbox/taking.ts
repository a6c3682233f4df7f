import { isFailure, toFailure } from "../../core/errors.ts";
import type { RequestId, SignRequest, StoredDocument } from "../../core/request.ts";
import type { Log } from "../../core/stage.ts";
import { isDiskFailure } from "../../files/durable.ts";
import type { SetAside } from "./aside.ts";
import { type Claim, type Claims, type Note, PLACES } from "./claim.ts";
import type { BatchFolder } from "./batch-folder.ts";
import type { Ends } from "./ends.ts";
import type { Follow } from "./follow.ts";
import type { Taken } from "./intake.ts";
import { toPath, toShortHash } from "./names.ts";
import type { Notes } from "./notes.ts";
import { Held } from "./pending.ts";
import { find, moveTo } from "./place.ts";
import type { StatusFiles } from "./status-file.ts";
import type { Reason } from "./unusable.ts";

/** Sees a claim through: to a request, or back to the person. Throws when it has to be tried again. */
export function createTaking({
  inbox,
  isCopied = false,
  intake,
  batches,
  claims,
  notes,
  setAside,
  statusFiles,
  follow,
  ends,
  mustBeHere = () => {},
  linked,
  tellOpen = () => {},
  counts,
  log,
  now,
}: {
  inbox: string;
  /** What is claimed is a copy: nothing goes back to where it came from. */
  isCopied?: boolean;
  intake: (claim: Claim) => Promise<Taken>;
  /** Folders with a table; without it they are folders like others. */
  batches?: Pick<BatchFolder, "isBatch" | "take"> | undefined;
  claims: Claims;
  notes: Pick<Notes, "read">;
  setAside: SetAside;
  statusFiles: StatusFiles;
  follow: Follow;
  ends: Pick<Ends, "forgetFailure">;
  /** Throws when the inbox is away, or another process's. */
  mustBeHere?: () => void;
  /** Brings what these documents were signed as to whoever hands them in again; left out where nobody wants that. */
  linked?: ((claim: Claim, of: SignRequest, documents: readonly StoredDocument[]) => Promise<string[]>) | undefined;
  /** Told of a claim that it is over. */
  tellOpen?: (id: RequestId, isOpen: boolean) => void;
  counts: { failed: number; duplicates: number };
  log: Log;
  now: () => number;
}) {
  return async function take(claim: Claim): Promise<void> {
    await follow.inTurn(claim.id, async () => {
      mustBeHere();
      claims.settleIn(claim);
      // A crash came while it was given back: what was decided then is finished, not decided again.
      if (claim.aside && !claim.aside.keep) return await giveBack(claim, claim.aside);
      if (await batches?.isBatch(claim)) {
        const reason = await batches?.take(claim);
        if (reason) return await giveBack(claim, { where: "failed", note: toNote(reason, "failed") });
        if (claims.read(claim.id) === undefined) tellOpen(claim.id, false);
        return;
      }
      const taken = await intake(claim).catch(async (error: unknown) => {
        if (isFailure(error, "bundle-busy")) await statusFiles.tellBusy(claim, toFailure(error), now());
        throw error;
      });
      switch (taken.outcome) {
        case "changed":
          return await release(claim);
        case "unusable":
          return await giveBack(claim, { where: "failed", note: toNote(taken.reason, "failed") });
        case "submitted": {
          const { submitted } = taken;
          if (submitted.outcome === "duplicate") {
            const { id, phase } = submitted.of;
            const before = `It was handed in before for the same signer: request ${id} is ${phase}.`;
            const message =
              phase === "failed" || phase === "expired"
                ? `${before} It is signed already, so do not drop it again: have the operator retry that request (signpipe retry ${id}).`
                : `${before} It was set aside; nothing is signed twice.`;
            const signed = phase === "done" ? await linked?.(claim, submitted.of, taken.documents) : undefined;
            const told = signed?.length ? `${message} What was signed then is in ${signed.join(", ")}.` : message;
            const note = toNote({ code: "duplicate", message: told }, "duplicate", { request_id: id, state: phase });
            return await giveBack(claim, { where: "duplicates", note, signed });
          }
          log.info({ requestId: claim.id, name: toShortHash(claim.raw) }, "file taken");
          // A convenience: when the file is delivered, it is done again.
          await ends.forgetFailure(claim).catch(() => {});
          const isJoined = submitted.request.id !== claim.id;
          if (submitted.outcome === "known" || isJoined) await follow.apply(claim.id);
        }
      }
    });
  };

  async function giveBack(
    claim: Claim,
    { where, note: told, signed }: { where: "failed" | "duplicates"; note: Note; signed?: string[] | undefined },
  ): Promise<void> {
    const note = where === "failed" ? withEarlier(claim, told) : told;
    try {
      await setAside(claim, { where, note, keep: false });
      await statusFiles.tellAside(claim, note, where, signed);
    } catch (cause) {
      if (isDiskFailure(cause)) throw cause; // the disk takes nothing from anybody
      throw new Held("a file cannot be given back", { cause });
    }
    tellOpen(claim.id, false);
    counts[where] += 1;
    log.warn(
      { code: note.code, name: toShortHash(claim.raw) },
      where === "failed" ? "file failed" : "duplicate set aside",
    );
  }

  /** What was signed at an earlier attempt is found through the note, which this one replaces. */
  function withEarlier({ raw }: Claim, note: Note): Note {
    const { request_id, retry_of = request_id } = notes.read("failed", raw) ?? {};
    return retry_of === undefined ? note : { ...note, retry_of };
  }

  /** Somebody was still writing: back into the inbox, as if nothing had been. */
  async function release(claim: Claim): Promise<void> {
    const changed = {
      code: "file-changed",
      message: "It was changed while it was taken; drop it into the inbox again.",
    };
    if (claim.form !== "file" || isCopied)
      return await giveBack(claim, { where: "failed", note: toNote(changed, "failed") });
    const { id, raw, sidecar } = claim;
    const names = sidecar === undefined ? [raw] : [raw, sidecar];
    const there = await Promise.all(names.map((name) => find(toPath(inbox, name))));
    if (there.some((one) => one !== undefined))
      return await giveBack(claim, { where: "failed", note: toNote(changed, "failed") });
    if (sidecar !== undefined) await moveTo(claims.at(id, PLACES.sidecar), toPath(inbox, sidecar));
    const moved = await moveTo(claims.at(id, "1.pdf"), toPath(inbox, raw));
    // Taken by another one, or its folder is not there any more.
    if (moved !== "placed" && (await find(claims.at(id, "1.pdf"))))
      return await giveBack(claim, { where: "failed", note: toNote(changed, "failed") });
    if (await find(claims.at(id, PLACES.sidecar))) return;
    tellOpen(id, false);
    claims.finish(claim);
  }

  function toNote({ code, message }: Reason, state: string, of?: Note["duplicate_of"]): Note {
    return {
      code,
      message,
      state,
      retriable: true,
      ...(of && { duplicate_of: of }),
      at: new Date(now()).toISOString(),
    };
  }
}
