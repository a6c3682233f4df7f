import { GroupPlace, memberIds, REQUEST_DOCUMENTS, splitDocuments } from "../../core/group.ts";
import type { Enclosure } from "../../core/identity.ts";
import { type InboxName, RequestId, type SignRequest, type StoredDocument } from "../../core/request.ts";
import { isEnd } from "../../core/status.ts";
import type { Fitted } from "../../files/appearances.ts";
import type { Pipeline, Submission, Submitted } from "../../queues/pipeline-types.ts";
import { type Manifest, toWishes } from "../manifest.ts";
import type { Claim, Claims } from "./claim.ts";
import type { InboxConfig } from "./config.ts";
import { folderOf, toText } from "./names.ts";
import type { Notes } from "./notes.ts";

/** Attempts at the same folder that are looked back on. */
const ATTEMPTS_MOST = 20;
const RetryOf = RequestId.optional().catch(undefined);

/** What a claim brings, checked and hashed. */
export interface Found {
  documents: StoredDocument[];
  enclosures: Enclosure[];
}

/**
 * Submits what a claim brings: as one request under the claim's id, or as the group of that id when one cannot take all.
 * Of a folder that was put back, what an earlier attempt has signed is left out. How it was divided is on disk before
 * anything is submitted. Safe to repeat.
 */
export function createHandIn({
  claims,
  notes,
  pipeline,
  root: { name, acceptsDuplicates = false, duplicatesMs, bundle } = {},
}: {
  claims: Pick<Claims, "save">;
  notes: Pick<Notes, "read">;
  pipeline: Pick<Pipeline, "submit" | "bundle" | "find" | "signedBefore">;
  /** Which inbox this is, where it is not the one in DATA_DIR, whether it minds duplicates, for how long, and whether it bundles. */
  root?: {
    name?: InboxName | undefined;
    acceptsDuplicates?: boolean;
    duplicatesMs?: number | undefined;
    bundle?: InboxConfig["bundle"];
  };
}) {
  return async function handIn(claim: Claim, manifest: Manifest, found: Found & Fitted): Promise<Submitted> {
    // Divided anew, it might leave out what it has signed itself by now.
    const known = isDivided(claim) ? await pipeline.find(claim.id) : undefined;
    if (known) return { outcome: "known", request: known };
    const wishes = toWishes(manifest);
    const earlier = await earlierAttempt(claim, found.documents);
    const signed = earlier ? await signedIn(earlier, { ...wishes, documents: found.documents }) : [];
    const left = found.documents.filter((_, i) => signed[i] === undefined);
    // Nothing left: handed in as it is, it turns out to be a duplicate.
    const [first = [], ...rest] = splitDocuments(left.length > 0 ? left : found.documents);
    await divide(claim, { requests: rest.length + 1, signedAs: left.length > 0 ? signed : [] });
    const submission: Submission = {
      ...wishes,
      ...found,
      id: claim.id,
      source: "inbox",
      inbox: name,
      by: name === undefined ? "inbox" : `inbox:${name}`,
      documents: first,
      ...(rest.length > 0 && { rest }),
      refuseDuplicate: !acceptsDuplicates,
      duplicatesMs,
      ...(earlier && { retryOf: earlier.id }),
    };
    if (!bundle || claim.form !== "file") return await pipeline.submit(submission);
    const { windowMs, most = REQUEST_DOCUMENTS } = bundle;
    const joining = (id: RequestId | undefined) => join(claim, id, earlier?.id);
    return await pipeline.bundle(submission, {
      windowMs,
      most,
      apart: toText(folderOf(claim.raw)),
      joined: claim.joined,
      joining,
    });
  };

  async function join(claim: Claim, id: RequestId | undefined, earlier: RequestId | undefined): Promise<void> {
    if (claim.joined === id) return;
    delete claim.joined;
    delete claim.retryOf;
    if (id !== undefined) claim.joined = id;
    if (id !== undefined && earlier !== undefined) claim.retryOf = earlier;
    await claims.save(claim);
  }

  async function divide(
    claim: Claim,
    { requests, signedAs }: { requests: number; signedAs: (RequestId | undefined)[] },
  ): Promise<void> {
    const wasDivided = isDivided(claim);
    const ids = [...new Set(signedAs.filter((id) => id !== undefined))];
    delete claim.requests;
    delete claim.signedAs;
    if (requests > 1) claim.requests = requests;
    if (ids.length > 0) claim.signedAs = ids;
    if (wasDivided || isDivided(claim)) await claims.save(claim);
  }

  /** For each document, the request of an earlier attempt that it was signed as for the same signer. */
  async function signedIn(
    earlier: SignRequest,
    submission: Parameters<Pipeline["signedBefore"]>[0],
  ): Promise<(RequestId | undefined)[]> {
    const attempts = new Set<RequestId>();
    for (let at: SignRequest | undefined = earlier; at && attempts.size < ATTEMPTS_MOST;) {
      attempts.add(at.id);
      const id: RequestId | undefined = RetryOf.parse(at.facts["retryOf"]);
      at = id === undefined || attempts.has(id) ? undefined : await pipeline.find(id);
    }
    const requests = await pipeline.signedBefore(submission);
    return requests.map((request) => {
      if (!request) return undefined;
      return attempts.has(GroupPlace.safeParse(request.facts["group"]).data?.id ?? request.id) ? request.id : undefined;
    });
  }

  /** The request that had failed with one of these documents and was given back under this name, if any. */
  async function earlierAttempt(claim: Claim, found: readonly StoredDocument[]): Promise<SignRequest | undefined> {
    const note = notes.read("failed", claim.raw);
    const id = note?.request_id ?? note?.retry_of;
    if (id === undefined || id === claim.id) return undefined;
    const earlier = await pipeline.find(id);
    if (!earlier) return undefined;
    const hashes = new Set(found.map(({ sha256 }) => sha256));
    const group = GroupPlace.safeParse(earlier.facts["group"]).data;
    let isDone = true;
    let isSame = false;
    for (const member of group ? memberIds(group) : [earlier.id]) {
      const request = member === earlier.id ? earlier : await pipeline.find(member);
      if (request && !isEnd(request.phase)) return undefined;
      isDone &&= request?.phase === "done";
      const before = (request?.facts["documents"] ?? []) as { sha256: string }[];
      isSame ||= before.some(({ sha256 }) => hashes.has(sha256));
    }
    return isSame && !isDone ? earlier : undefined;
  }
}

function isDivided({ requests, signedAs }: Claim): boolean {
  return requests !== undefined || signedAs !== undefined;
}
