import type { Redis } from "ioredis";
import { z } from "zod";
import type { CrashPoint } from "../core/crash-point.ts";
import { GroupPlace, memberId } from "../core/group.ts";
import { Enclosure } from "../core/identity.ts";
import { type RequestId, type SignRequest, StoredDocument } from "../core/request.ts";
import { isEnd } from "../core/status.ts";
import type { Keys } from "./keys.ts";
import type { Queues } from "./queues.ts";
import { sealCallback, unsealCallback } from "./seal.ts";
import { createSeen, printsOfRequest } from "./seen.ts";
import type { Store } from "./store.ts";
import { personOf, type Private, type Vault } from "./vault.ts";

/**
 * What the first request of a group has until the others are there: their documents, in its own folder, and the names of
 * the facts that were said of all of them alike, who handed them in, and what the history says of that. What has become of the first since then is its own.
 */
const Unmade = z.object({
  group: GroupPlace,
  rest: z.object({
    documents: z.array(z.array(StoredDocument).min(1)).min(1),
    alike: z.array(z.string()),
    by: z.string(),
    note: z.string().optional(),
  }),
  enclosures: z.array(Enclosure).optional(),
  callbackUrl: z.string().optional(),
});

/** What a group needs of the document store. */
export interface GroupDocuments {
  /** The same files in the folder of another request too, on disk when this resolves. References to them, in order. */
  share<T extends Pick<StoredDocument, "id">>(files: readonly T[], to: RequestId): Promise<T[]>;
  /** Removes files, when they are there. */
  erase(files: readonly Pick<StoredDocument, "id">[]): Promise<void>;
}

export type Groups = ReturnType<typeof createGroups>;

/** Whether others of the request's group may not be there yet. */
export function isHalfMade({ facts }: SignRequest): boolean {
  return facts["rest"] !== undefined;
}

/**
 * Requests that were handed in together. The record of the first one is the whole group until the others are made from
 * it, by whoever comes first: the call that handed it in, its repetition, or the worker that takes the first one up.
 */
export function createGroups({
  redis,
  keys,
  store,
  queues,
  vault,
  masterKey,
  documents,
  now = Date.now,
  crashPoint,
}: {
  redis: Redis;
  keys: Keys;
  store: Store;
  queues: Queues;
  vault: Vault;
  masterKey: Uint8Array;
  documents: GroupDocuments;
  now?: () => number;
  crashPoint?: CrashPoint | undefined;
}) {
  const seen = createSeen({ redis, keys, store });

  async function make(
    first: SignRequest,
    n: number,
    { unmade, person, mustKnow }: { unmade: z.infer<typeof Unmade>; person: Private; mustKnow: () => void },
  ): Promise<void> {
    const id = memberId(first.id, n);
    const { group, rest, enclosures = [], callbackUrl } = unmade;
    const files = rest.documents[n - 2] ?? [];
    const shared = await documents.share([...files, ...enclosures], id).catch(async (error: unknown) => {
      if (await store.read(id)) return undefined; // somebody was faster, and has tidied up
      throw error;
    });
    if (!shared) return;
    const made = {
      id,
      workflow: first.workflow,
      source: first.source,
      ...(first.reference && { reference: first.reference }),
      facts: {
        ...Object.fromEntries(rest.alike.map((name) => [name, first.facts[name]])),
        documents: shared.slice(0, files.length),
        group: { ...group, n },
        ...(enclosures.length > 0 && { enclosures: shared.slice(files.length) }),
        ...(callbackUrl && {
          callbackUrl: sealCallback(masterKey, id, unsealCallback(masterKey, first.id, callbackUrl)),
        }),
      },
      createdMs: now(),
    };
    mustKnow();
    await vault.keep(id, person);
    if (first.reference) await redis.sadd(keys.reference(first.reference), id);
    const added = await store.add(made, rest.by, rest.note === undefined ? {} : { note: rest.note });
    const request = added?.request ?? (await store.get(id));
    await takeMarks(first, request, person);
    // Somebody was faster, and it is over already: who signs was erased, and must not be kept again.
    if (!added && isEnd(request.phase) && request.phase !== "failed" && request.phase !== "expired") {
      await vault.erase(id);
    } else if (added) await queues.add(request.stage, id, now());
  }

  /** The marks against duplicates are the group's until its record is there: marked for nobody, a document could be taken twice. */
  async function takeMarks(first: SignRequest, request: SignRequest, person: Private): Promise<void> {
    await seen.handOver(first.id, request.id, printsOfRequest(masterKey, request, person.signer));
  }

  return {
    /**
     * Makes the requests of the group that are not there yet. Safe to repeat, and for several at once. Throws
     * PermanentError "signer-erased" or "document-gone" when they cannot be made any more, and what Redis, the journal
     * and the disk say. `mustKnow` throws when Redis may have forgotten since what it was asked: a request that is not
     * there then may be one that was signed.
     */
    async complete(first: SignRequest, mustKnow: () => void): Promise<void> {
      if (!isHalfMade(first)) return;
      const unmade = Unmade.parse(first.facts);
      let person: Private | undefined;
      for (const n of unmade.rest.documents.keys()) {
        const there = (await store.read(memberId(first.id, n + 2)))?.request;
        if (there) {
          // A crash may have come before its marks.
          const known = person ?? (await vault.read(first.id));
          if (known) await takeMarks(first, there, known);
          continue;
        }
        person ??= await personOf(vault, first.id);
        if (crashPoint) await crashPoint("group:next", memberId(first.id, n + 2));
        await make(first, n + 2, { unmade, person, mustKnow });
      }
    },

    /**
     * The others are there: their documents leave the folder of the first. Not those of the inbox, which gives a folder
     * back, or archives it, as the whole that was dropped.
     */
    async tidy(first: SignRequest): Promise<void> {
      if (isHalfMade(first) && first.source !== "inbox")
        await documents.erase(Unmade.parse(first.facts).rest.documents.flat());
    },
  };
}
