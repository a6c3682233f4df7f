import type { Log } from "../../core/stage.ts";
import type { InboxLease } from "../../queues/inbox-lease.ts";
import { codeOf } from "./pending.ts";
import type { Absence, Presence } from "./presence.ts";

const ELSEWHERE: Absence = { code: "inbox-elsewhere", message: "another process serves it" };
const UNLED: Absence = {
  code: "inbox-unled",
  message: "Redis does not answer, so it is not known which process serves it",
};

/**
 * Whether this inbox is served here and now: it is there, and no other process serves it. Whenever it is again, `arrive`
 * is called before anything else happens, since there may be claims of somebody else's, or of before, to be looked after.
 */
export function createStanding({
  presence,
  lease,
  arrive,
  leave,
  log,
}: {
  presence: Presence;
  lease: InboxLease | undefined;
  /** Puts in order what is there. What keeps it from being served, or nothing. Throws what the file system says. */
  arrive: () => Promise<Absence | undefined>;
  leave: () => Promise<void>;
  log: Log;
}) {
  let absence: Absence | undefined;
  let isHere = false;
  let isUnknown = false;
  let asking: Promise<boolean> | undefined;
  let timer: NodeJS.Timeout | undefined;

  function why(): Absence | undefined {
    if (lease && !lease.isHeld()) return isUnknown ? UNLED : ELSEWHERE;
    return presence.absence();
  }

  async function ask(): Promise<boolean> {
    let reason = why();
    if (!reason && (!isHere || presence.isAnother())) {
      const was = absence;
      if (isHere) await leave();
      isHere = false;
      reason = await arrive();
      if (!reason) {
        presence.arrive();
        if (was) log.info({ code: was.code }, "inbox is served again");
      }
    }
    if (reason) await gone(reason);
    absence = reason;
    isHere = reason === undefined;
    return isHere;
  }

  async function gone(reason: Absence): Promise<void> {
    if (isHere) await leave();
    if (absence?.code === reason.code) return;
    const level = reason.code === "inbox-elsewhere" ? "info" : "error";
    log[level]({ code: reason.code }, `inbox is not served: ${reason.message}`);
  }

  async function renew(): Promise<void> {
    // While Redis is away it lapses by itself: what is needed to take anything in is away as well.
    try {
      await lease?.renew();
      isUnknown = false;
    } catch (error) {
      isUnknown = true;
      log.debug({ code: codeOf(error) }, "inbox lease not renewed");
    }
  }

  return {
    /** Whether it is served now; what is to be done on arrival is done. Throws what the file system says then. */
    isHere(): Promise<boolean> {
      asking ??= ask().finally(() => (asking = undefined));
      return asking;
    },

    /** Why it is not served, as of the last time that was asked. */
    absence: () => absence,

    /** Throws when the inbox went away in the meantime: then that a file is not there says nothing. */
    mustBeHere(): void {
      const reason = why();
      if (reason) throw Object.assign(new Error(reason.message), { code: reason.code });
    },

    /** Takes or keeps the lease, for one pass. */
    renew,

    async start(): Promise<void> {
      if (!lease) return;
      await renew();
      timer = setInterval(() => void renew(), lease.renewMs);
      timer.unref();
    },

    async stop(): Promise<void> {
      clearInterval(timer);
      await lease?.release().catch(() => {}); // it lapses
    },
  };
}
