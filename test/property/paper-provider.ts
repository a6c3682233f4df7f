import { setTimeout as pause } from "node:timers/promises";
import { PermanentError, RetryableError } from "../../src/core/errors.ts";
import type { DocumentUid, RequestPk, VideoIdPk } from "../../src/core/signing.ts";
import type { Provider } from "../../src/provider/client.ts";

/** What can go wrong with the next call. */
export const FAULTS = ["silent-before", "silent-after", "5xx-before", "5xx-after", "slow", "lock-lost"] as const;
export type Fault = (typeof FAULTS)[number];

export type Effect = "create" | "approve" | "refuse" | "update" | "upload" | "otp" | "sign" | "cancel" | "delete";

export interface Entry {
  effect: Effect;
  pk: number;
  /** Whose request it is. */
  email: string;
  atMs: number;
  /** Documents that were there at that moment. */
  documents: number;
}

interface Row {
  pk: number;
  videoidPk: number;
  email: string;
  phone: string;
  status: string;
  documents: Set<string>;
  codes: { code: string; atMs: number }[];
}

const OTP_GUARD_MS = 60_000;

/** A provider of a few lines, with the guards that are published and a ledger of what really happened. */
export function createPaperProvider({ now, loseLock }: { now: () => number; loseLock: () => Promise<void> }) {
  const rows = new Map<number, Row>();
  const ledger: Entry[] = [];
  const faults: { fault: Fault | "none"; onlyEffects: boolean }[] = [];
  let hold: { effect: Effect | "read"; isDone: boolean; until: Promise<void> } | undefined;
  let isHolding = false;
  let next = 1_000;
  let forbidden = 0;
  let inFlight = 0;

  function rowOf(pk: number): Row {
    const row = rows.get(pk);
    if (!row) throw new PermanentError("no such request", { code: "not-found" });
    return row;
  }

  function need(row: Row, ...statuses: string[]): void {
    if (!statuses.includes(row.status)) throw new PermanentError(`it is ${row.status}`, { code: "wrong-state" });
  }

  /** Now and then an account may not remove what it has made, as long as it is not signed. */
  function mayRemove({ status }: Row): void {
    if (forbidden === 0 || status === "ISSUED") return;
    forbidden -= 1;
    throw new PermanentError("this account may not do that", { code: "not-permitted" });
  }

  function note(effect: Effect, { pk, email, documents }: Row): void {
    ledger.push({ effect, pk, email, atMs: now(), documents: documents.size });
  }

  async function call<T>(name: Effect | "read", work: () => T): Promise<T> {
    const hasEffect = name !== "read";
    inFlight += 1;
    try {
      const due = faults[0];
      const fault = due && (hasEffect || !due.onlyEffects) ? faults.shift()?.fault : undefined;
      const effect = hasEffect ? "unknown" : "none";
      const silence = new RetryableError("not answered", { code: "no-answer", effect });
      const broken = new RetryableError("answered 503", { code: "provider-error", effect });
      await pause(1);
      if (fault === "silent-before") throw silence;
      if (fault === "5xx-before") throw broken;
      if (fault === "lock-lost") await loseLock();
      if (fault === "slow" || fault === "lock-lost") await pause(60);
      const held = hold?.effect === name ? hold : undefined;
      if (held) hold = undefined;
      isHolding ||= held !== undefined && !held.isDone;
      if (held && !held.isDone) await held.until;
      const given = work();
      isHolding ||= held !== undefined;
      if (held?.isDone) await held.until;
      if (held) isHolding = false;
      if (fault === "silent-after") throw silence;
      if (fault === "5xx-after") throw broken;
      return given;
    } finally {
      inFlight -= 1;
    }
  }

  const provider = {
    createVideoId: ({ email, mobile_phone_number: phone }) =>
      call("create", () => {
        const pk = next++;
        const row: Row = {
          pk,
          videoidPk: pk + 10_000,
          email,
          phone,
          status: "VIDEOPENDING",
          documents: new Set(),
          codes: [],
        };
        rows.set(pk, row);
        note("create", row);
        return {
          requestPk: pk as RequestPk,
          videoidPk: row.videoidPk as VideoIdPk,
          videoidLink: "https://example.com/1",
        };
      }),
    getRequest: (pk) =>
      call("read", () => {
        const { status, email, phone, videoidPk } = rowOf(pk);
        return {
          status,
          requestPk: pk,
          email,
          mobilePhoneNumber: phone,
          videoidPk: videoidPk as VideoIdPk,
          videoidLink: "https://example.com/1",
          scratchcard: "1",
          profile: "p",
          registrationAuthority: "1",
          countryName: "ES",
        };
      }),
    updateRequest: (pk, { mobile_phone_number: phone }) =>
      call("update", () => {
        const row = rowOf(pk);
        need(row, "VIDEOPENDING", "VIDEOREVIEW");
        row.phone = phone ?? row.phone;
        note("update", row);
      }),
    approve: (videoidPk) =>
      call("approve", () => {
        const row = rowOf(videoidPk - 10_000);
        need(row, "VIDEOREVIEW");
        row.status = "ENROLLREADY";
        note("approve", row);
      }),
    refuse: (videoidPk) =>
      call("refuse", () => {
        const row = rowOf(videoidPk - 10_000);
        need(row, "VIDEOREVIEW");
        row.status = "CANCELLED";
        note("refuse", row);
      }),
    cancel: (pk) =>
      call("cancel", () => {
        const row = rowOf(pk);
        mayRemove(row);
        need(row, "VIDEOPENDING", "VIDEOREVIEW", "ENROLLREADY");
        row.status = "CANCELLED";
        note("cancel", row);
      }),
    upload: (pk, files) =>
      call("upload", () => {
        const row = rowOf(pk);
        const uids = files.map(() => `uid-${next++}`);
        for (const uid of uids) row.documents.add(uid);
        note("upload", row);
        return uids as DocumentUid[];
      }),
    deleteDocument: (pk, uid) =>
      call("delete", () => {
        const row = rowOf(pk);
        if (!row.documents.delete(uid)) return "absent" as const;
        note("delete", row);
        return "deleted" as const;
      }),
    deleteDocuments: (pk) =>
      call("delete", () => {
        const row = rowOf(pk);
        mayRemove(row);
        if (row.documents.size === 0) return "absent" as const;
        row.documents.clear();
        note("delete", row);
        return "deleted" as const;
      }),
    otp: (pk) =>
      call("otp", () => {
        const row = rowOf(pk);
        need(row, "ENROLLREADY");
        if (now() - (row.codes.at(-1)?.atMs ?? -OTP_GUARD_MS) < OTP_GUARD_MS) {
          throw new RetryableError("less than a minute", { code: "otp-too-soon", retryAfterMs: 60_000 });
        }
        row.codes.push({ code: String(100_000 + next++), atMs: now() });
        note("otp", row);
      }),
    sign: (pk, { secret }) =>
      call("sign", () => {
        const row = rowOf(pk);
        if (row.status === "ISSUED") throw new PermanentError("it is ISSUED", { code: "already-issued" });
        need(row, "ENROLLREADY");
        if (secret !== row.codes.at(-1)?.code) throw new PermanentError("wrong code", { code: "code-rejected" });
        row.status = "ISSUED";
        note("sign", row);
        return "signed" as const;
      }),
  } satisfies Partial<Provider>;

  return {
    provider: provider as unknown as Provider,
    ledger: ledger as readonly Entry[],
    inFlight: () => inFlight,
    isHolding: () => isHolding,
    /** What befalls the next call; or the next one that changes something. */
    fault: (fault: Fault | "none", { onlyEffects }: { onlyEffects: boolean }) =>
      void faults.push({ fault, onlyEffects }),
    /** Keeps the next such call, before or after it did its work, until the function is called. */
    hold(effect: Effect | "read", { isDone }: { isDone: boolean }): () => void {
      let release = () => {};
      const until = new Promise<void>((resolve) => (release = resolve));
      hold = { effect, isDone, until };
      return release;
    },
    clearFaults() {
      faults.length = 0;
      forbidden = 0;
    },
    /** Forbids the next calls that remove what is not signed. */
    forbid: (calls: number) => void (forbidden = calls),
    documentsOf: (pk: number) => rows.get(pk)?.documents.size ?? 0,
    /** A signing comes through that nobody waits for any more. False when it is too early or too late for that. */
    signLate(pk: number): boolean {
      const row = rows.get(pk);
      if (row?.status !== "ENROLLREADY" || row.documents.size === 0) return false;
      row.status = "ISSUED";
      return true;
    },
    pks: () => [...rows.keys()],
    statusOf: (pk: number) => rows.get(pk)?.status,
    phoneOf: (pk: number) => rows.get(pk)?.phone,
    codeOf: (pk: number) => rows.get(pk)?.codes.at(-1)?.code,
    /** Plays an officer of the provider's. */
    approve(pk: number): void {
      const row = rows.get(pk);
      if (row?.status === "VIDEOREVIEW") row.status = "ENROLLREADY";
    },
    /** Plays the signer. False when it is too early or too late for that. */
    identify(pk: number): boolean {
      const row = rows.get(pk);
      if (row?.status !== "VIDEOPENDING") return false;
      row.status = "VIDEOREVIEW";
      return true;
    },
  };
}
