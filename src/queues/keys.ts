import { createHash } from "node:crypto";
import type { Door, RequestId } from "../core/request.ts";
import { isEnd, type Phase } from "../core/status.ts";

/** Requests are listed by group: everything that moves by itself is one, waiting is another, every end its own. */
export const GROUPS = ["active", "waiting", "done", "refused", "cancelled", "expired", "failed"] as const;
export type Group = (typeof GROUPS)[number];

export function groupOf(phase: Phase): Group {
  return phase === "waiting" || isEnd(phase) ? (phase as Group) : "active";
}

export type Keys = ReturnType<typeof createKeys>;

/**
 * Every Redis key, in one place. `prefix` is a hash tag, so that all keys of one pipeline live in one Cluster slot: the
 * scripts touch several of them in one step.
 */
export function createKeys(prefix: string) {
  const digest = (text: string) => createHash("sha256").update(text).digest("base64url").slice(0, 22);
  return {
    prefix,
    /** Prefix of BullMQ's own keys. */
    queues: `${prefix}:queue`,
    /** The record: "version|stage|phase|nudgedMs|updatedMs|json"; of one that is done the JSON is packed (packed.ts). */
    request: (id: RequestId) => `${prefix}:request:${id}`,
    /** A record that could not be read, when a readable one was put in its place. */
    damaged: (id: RequestId) => `${prefix}:damaged:${id}`,
    /** List of history lines (core/history.ts), until the request is done: then they are with the record. */
    history: (id: RequestId) => `${prefix}:history:${id}`,
    /** Sorted set: every open request by the time at which it is overdue. */
    due: `${prefix}:due`,
    /** Sorted sets: requests of a group by creation time. */
    index: (group: Group) => `${prefix}:index:${group}`,
    /** Sets: requests that changed and whose door has not yet looked. */
    changed: (door: Door | "callback") => `${prefix}:changed:${door}`,
    /** Stream: the last changes of all requests, for those who follow them live. */
    feed: `${prefix}:feed`,
    /** When somebody's quota of calls is full again, in milliseconds of Redis' clock. */
    quota: (whose: string) => `${prefix}:quota:${digest(whose)}`,
    /** Hash: what a request's followers are told, and what became of it, by the notification's id. */
    notifications: (id: RequestId) => `${prefix}:notifications:${id}`,
    /** There while the receiver of a request's notifications is gone for good. */
    notificationsStopped: (id: RequestId) => `${prefix}:notifications-stopped:${id}`,
    /** Sorted sets: notifications that were not delivered ("<request id>|<its id>"), by when they came about. */
    undelivered: (state: "waiting" | "failed") => `${prefix}:notifications-${state}`,
    /** Hash: how many notifications were delivered and given up, ever. */
    notificationCounts: `${prefix}:notification-counts`,
    /** How many jobs of the queue "results" went because nobody took them. */
    resultsDropped: `${prefix}:results-dropped`,
    /** Hash: request_pk to request id, for webhooks. */
    pks: `${prefix}:pks`,
    /** Hash of encrypted fields: who signs, and other personal data. */
    vault: (id: RequestId) => `${prefix}:vault:${id}`,
    /** The encrypted one-time code, for minutes. */
    code: (id: RequestId) => `${prefix}:code:${id}`,
    /** Set of request ids with the same caller's reference. */
    reference: (reference: string) => `${prefix}:reference:${digest(reference)}`,
    /** The request that has this document for this signer. */
    seen: (fingerprint: string) => `${prefix}:seen:${fingerprint}`,
    /** The request of an inbox that further files for the same signer join; empty when whoever began it gave it up. */
    bundle: (fingerprint: string) => `${prefix}:bundle:${fingerprint}`,
    /** What an Idempotency-Key stands for. */
    idempotency: (name: string) => `${prefix}:idempotency:${digest(name)}`,
    /** Sorted set: requests whose creation at the provider may have worked unheard, by when that stops to matter. */
    suspects: `${prefix}:suspects`,
    /** Hash: since when such a request is one, and the fingerprint of the person it is about ("ms|print"). */
    suspectPrints: `${prefix}:suspect-prints`,
    /** Sorted set: request_pks from webhooks that no request has, by arrival. */
    strangers: `${prefix}:strangers`,
    /** Hash: fingerprint of the person a stranger is about. */
    strangerPrints: `${prefix}:stranger-prints`,
    /** Hash: what every process must know about calling the provider (guard.ts). */
    guard: `${prefix}:guard`,
    /** Held by the call that finds out whether credentials are accepted. */
    trial: (print: string) => `${prefix}:guard-trial:${print}`,
    /** Held by the process that finds out whether the provider is back. */
    probe: `${prefix}:guard-probe`,
    /** When the next call may leave, in milliseconds of Redis' clock. */
    pace: `${prefix}:guard-pace`,
    /** Hash: what images are called at the provider ("uid|ms of the last look"), by a fingerprint of provider and bytes. */
    images: `${prefix}:images`,
    /** Which DATA_DIR this Redis belongs to. */
    instance: `${prefix}:instance`,
    /** When a process last found this Redis to be the right one, in milliseconds since the epoch. */
    alive: `${prefix}:alive`,
    /** How many requests the last round of the reconciler found without a next step. */
    withoutNextStep: `${prefix}:without-next-step`,
    /** Set: requests that are over, and whose cleanup was given up. */
    uncleaned: `${prefix}:uncleaned`,
    /** Set: open requests whose record the reconciler could not read. */
    unreadable: `${prefix}:unreadable`,
    /** Held by the process that serves an inbox: "host:namespace:pid:random". */
    inboxLease: (name: string) => `${prefix}:inbox-lease:${name}`,
    /** Held by the process that reconciles. */
    leader: (what: string) => `${prefix}:leader:${what}`,
  };
}
