import type { Redis } from "ioredis";
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { z } from "zod";
import { isBundle } from "../core/bundle.ts";
import { RetryableError } from "../core/errors.ts";
import { GroupPlace, memberIds } from "../core/group.ts";
import { contentOf, type RequestId, type SignRequest, StoredDocument } from "../core/request.ts";
import { FormatFact } from "../core/signing.ts";
import { isEnd } from "../core/status.ts";
import { DEFAULT_TENANT } from "../core/tenant.ts";
import type { Keys } from "./keys.ts";
import type { Submission } from "./pipeline-types.ts";
import { fingerprint } from "./seal.ts";
import type { Store } from "./store.ts";

/** How long a document counts as seen. */
const SEEN_MS = 90 * 86_400_000;
/** Between a mark and the record of its request lie milliseconds. After this its process must be dead. */
const IN_FLIGHT_MS = 10_000;
const LOOK_AGAIN_MS = 25;
const GIVE_UP_MS = 2 * IN_FLIGHT_MS;

interface Scripts {
  signpipeTakeOver(key: string, seen: string, id: string, lifeMs: number): Promise<0 | 1>;
}

/** What makes a document for a signer the same one again. */
type Marked = Pick<
  Submission,
  "documents" | "rest" | "signer" | "signature" | "tenant" | "profile" | "registration_authority"
>;

/** The same, as the record has it. */
const FromFacts = z
  .object({
    documents: z.array(StoredDocument),
    rest: z.object({ documents: z.array(z.array(StoredDocument)) }).optional(),
    format: FormatFact,
    tenant: z.string().optional(),
    profile: z.string().optional(),
    registrationAuthority: z.string().optional(),
  })
  .transform(({ registrationAuthority, format, rest, ...same }) => ({
    ...same,
    rest: rest?.documents,
    signature: { format },
    registration_authority: registrationAuthority,
  }));

/**
 * A document for a signer under a profile of a tenant: the same one again is a duplicate. The name plays no part. A hash file is the
 * same as what its digest is of; the signed PDF and a signature apart are two things. The first request of a group has the
 * documents of the others too, until these are there.
 */
export function printsOf(
  masterKey: Uint8Array,
  { documents, rest = [], signer, signature, tenant, profile, registration_authority }: Marked,
): string[] {
  const whose = [signer.email.toLowerCase(), signer.mobile_phone_number, profile ?? "", registration_authority ?? ""];
  if (tenant !== undefined && tenant !== DEFAULT_TENANT) whose.push(tenant); // prints from before there were any hold on
  const isApart = signature?.format === "cms";
  return [...documents, ...rest.flat()].map((document) => {
    const what = isApart ? `cms ${contentOf(document)}` : document.sha256;
    return fingerprint(masterKey, [what, ...whose]);
  });
}

/** The documents that these are of, in their order. */
export function documentsOf({ facts }: Pick<SignRequest, "facts">): StoredDocument[] {
  const { documents, rest = [] } = FromFacts.parse(facts);
  return [...documents, ...rest.flat()];
}

/** The same for a request that is there. */
export function printsOfRequest(masterKey: Uint8Array, request: SignRequest, signer: Marked["signer"]): string[] {
  return printsOf(masterKey, { ...FromFacts.parse(request.facts), signer });
}

/** Marks that tell which request has a document for a signer, so that it is not signed twice. */
export function createSeen({ redis, keys, store }: { redis: Redis; keys: Keys; store: Pick<Store, "read"> }) {
  const lua = readFileSync(new URL("./scripts/take-over.lua", import.meta.url), "utf8");
  redis.defineCommand("signpipeTakeOver", { numberOfKeys: 1, lua });
  const scripts = redis as unknown as Scripts;

  /** The request that a document is marked for, by its fingerprint. */
  async function ownerOf(print: string): Promise<SignRequest | undefined> {
    const id = await redis.get(keys.seen(print));
    return id === null ? undefined : (await store.read(id))?.request;
  }

  /** Marks one document for `id`. The request that has it otherwise. */
  async function claimOne(id: RequestId, key: string, content: string | undefined): Promise<SignRequest | undefined> {
    const untilMs = performance.now() + GIVE_UP_MS;
    while (performance.now() < untilMs) {
      if ((await redis.set(key, id, "PX", SEEN_MS, "NX")) === "OK") return undefined;
      const [other, leftMs] = await Promise.all([redis.get(key), redis.pttl(key)]);
      if (other === null) continue;
      const marked = other === id ? undefined : (await store.read(other))?.request;
      const earlier = marked && lacks(marked, content) ? undefined : marked;
      if (earlier && isInTheWay(earlier)) return earlier;
      // Its record, or the line in one that it joins, is about to be written: whether this is a duplicate shows in a moment.
      const ageMs = SEEN_MS - leftMs;
      const isInFlight = other !== id && !earlier && ageMs >= 0 && ageMs < IN_FLIGHT_MS;
      if (isInFlight) await pause(LOOK_AGAIN_MS);
      else if ((await scripts.signpipeTakeOver(key, other, id, SEEN_MS)) === 1) return undefined;
    }
    throw new RetryableError("Many hand in the same document at once; try again", { code: "contended" });
  }

  return {
    /**
     * Claims documents, by their fingerprints, for `id`. The earlier request that has one of them, if there is: then
     * `id` is a duplicate of it. `documents` are those of the fingerprints, in their order. Throws RetryableError
     * "contended".
     */
    async claim(
      id: RequestId,
      prints: readonly string[],
      documents: readonly StoredDocument[],
    ): Promise<SignRequest | undefined> {
      const pairs = prints.map((print, i) => ({ print, content: documents[i] && contentOf(documents[i]) }));
      // All in one order: two requests that share two documents would otherwise wait for each other.
      for (const { print, content } of pairs.sort((a, b) => (a.print < b.print ? -1 : 1))) {
        const earlier = await claimOne(id, keys.seen(print), content);
        if (earlier) return earlier;
      }
      return undefined;
    },

    /**
     * For each document, by their fingerprints, the request that it was signed as; undefined where there is none. Of two
     * that are the same and went into two requests of a group, only one has the mark: the whole group is looked at.
     */
    async doneAs(
      documents: readonly StoredDocument[],
      prints: readonly string[],
    ): Promise<(SignRequest | undefined)[]> {
      return await Promise.all(
        documents.map(async (document, i) => {
          const owner = await ownerOf(prints[i] ?? "");
          if (!owner || owner.phase === "done") return owner;
          const group = GroupPlace.safeParse(owner.facts["group"]).data;
          for (const member of group ? memberIds(group) : []) {
            const request = (await store.read(member))?.request;
            if (request?.phase !== "done") continue;
            const has = StoredDocument.array().parse(request.facts["documents"]).map(contentOf);
            if (has.includes(contentOf(document))) return request;
          }
          return undefined;
        }),
      );
    },

    /** Whether all of the documents were signed as another request. Changes nothing. */
    async isSignedElsewhere(id: RequestId, prints: readonly string[]): Promise<boolean> {
      for (const print of prints) {
        const other = await redis.get(keys.seen(print));
        if (other === null || other === id) return false;
        if ((await store.read(other))?.request.phase !== "done") return false;
      }
      return prints.length > 0;
    },

    /** The requests that documents are marked for, by their fingerprints; those of which nothing is known are left out. */
    async markedFor(prints: readonly string[]): Promise<SignRequest[]> {
      const found = await Promise.all(prints.map(ownerOf));
      return found.filter((one) => one !== undefined);
    },

    /** Marks documents for `id` whoever has them: the caller asked for it. */
    async mark(id: RequestId, prints: readonly string[]): Promise<void> {
      for (const print of prints) await redis.set(keys.seen(print), id, "PX", SEEN_MS);
    },

    /**
     * Has marks of these requests live for another time than usual, from now on. Not when they are made: how old one is
     * that has no record yet is told from how long it lives.
     */
    async limit(ids: readonly RequestId[], prints: readonly string[], lifeMs: number): Promise<void> {
      for (const print of prints) {
        const owner = await redis.get(keys.seen(print));
        if (owner !== null && ids.includes(owner)) await redis.pexpire(keys.seen(print), lifeMs);
      }
    },

    /** The request that has each of these documents marked, if any. Changes nothing. */
    async ownersOf(prints: readonly string[]): Promise<(SignRequest | undefined)[]> {
      return await Promise.all(
        prints.map(async (print) => {
          const owner = await ownerOf(print);
          return owner && isInTheWay(owner) ? owner : undefined;
        }),
      );
    },

    /**
     * Marks documents for `id` that were marked for another request, or for none. Whoever has taken them over meanwhile
     * keeps them. At no moment is one without a mark.
     */
    async handOver(from: RequestId, id: RequestId, prints: readonly string[]): Promise<void> {
      for (const print of prints) {
        const key = keys.seen(print);
        if ((await redis.set(key, id, "PX", SEEN_MS, "NX")) === "OK") continue;
        await scripts.signpipeTakeOver(key, from, id, SEEN_MS);
      }
    },

    /** Marks the documents of a request again, where Redis has lost the marks and it still stands in the way. */
    async remember(request: SignRequest, prints: readonly string[]): Promise<void> {
      if (!isInTheWay(request)) return;
      for (const print of prints) await redis.set(keys.seen(print), request.id, "PX", SEEN_MS, "NX");
    },
  };
}

/** A document is marked for the request that it is about to join. It may not have come to that. */
function lacks(request: SignRequest, content: string | undefined): boolean {
  if (content === undefined || !isBundle(request)) return false;
  return !documentsOf(request).map(contentOf).includes(content);
}

/** Open, done, or signed and failed on the way back: a new attempt would sign it twice. */
function isInTheWay({ phase, facts }: SignRequest): boolean {
  return phase === "done" || !isEnd(phase) || facts["signedMs"] !== undefined;
}
