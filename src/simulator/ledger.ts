import { closeSync, existsSync, openSync, readFileSync, truncateSync, writeSync } from "node:fs";

export type Effect =
  | "create"
  | "identify"
  | "validate"
  | "approve"
  | "refuse"
  | "update"
  | "cancel"
  | "evidences"
  | "video"
  | "download-video"
  | "upload"
  | "delete-document"
  | "delete-all"
  | "download-signed"
  | "download-original"
  | "contract"
  | "otp"
  | "otp-rejected"
  | "sign"
  | "sign-accepted"
  | "sign-failed"
  | "sign-rejected"
  | "token"
  | "delete-token"
  | "image"
  | "delete-image"
  | "settings"
  | "metadata"
  | "delete-metadata"
  | "certificate";

/** One effect: what really happened at the provider. No personal data; a phone appears as a hash. */
export type Entry = {
  seq: number;
  /** ISO 8601, UTC. */
  at: string;
  /** Milliseconds on a clock that never goes back. */
  monoMs: number;
  effect: Effect;
  request_pk?: number;
  videoid_pk?: number;
  document_uid?: string;
  sha256?: string;
  bytes?: number;
  /** Status of the request afterwards, where the effect changed it. */
  status?: string;
  /** Why something was rejected, or how an identification ended. */
  reason?: string;
  phone_sha256?: string;
};

/** What an entry says beside its effect. */
export type Facts = Omit<Partial<Entry>, "seq" | "at" | "monoMs" | "effect">;

export type Ledger = {
  entries: readonly Entry[];
  /** The highest request number of earlier runs, or 0. */
  lastRequestPk: number;
  add: (effect: Effect, facts?: Facts) => Entry;
  close: () => void;
};

/** An append-only record of effects, in memory and as one JSON line each in `path`; goes on with an old file. */
export function openLedger(path: string): Ledger {
  const entries = entriesOf(path);
  let seq = entries.at(-1)?.seq ?? 0;
  const lastRequestPk = entries.reduce((last, { request_pk = 0 }) => Math.max(last, request_pk), 0);
  const fd = openSync(path, "a", 0o600);
  let open = true;
  return {
    entries,
    lastRequestPk,
    add(effect, facts) {
      const entry: Entry = {
        seq: ++seq,
        at: new Date().toISOString(),
        monoMs: Math.round(performance.now() * 1000) / 1000,
        effect,
        ...facts,
      };
      entries.push(entry);
      // Written at once, so that no answer leaves before its effect is on record.
      if (open) writeSync(fd, `${JSON.stringify(entry)}\n`);
      return entry;
    },
    close() {
      if (open) closeSync(fd);
      open = false;
    },
  };
}

/** The entries of earlier runs; a last line that a crash has torn off is cut away. */
function entriesOf(path: string): Entry[] {
  if (!existsSync(path)) return [];
  const text = readFileSync(path, "utf8");
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  if (whole.length < text.length) truncateSync(path, Buffer.byteLength(whole));
  return whole
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Entry);
}
