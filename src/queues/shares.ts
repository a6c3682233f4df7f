/** A tenant may have so many seconds' worth of its share at once. */
const BURST_SECONDS = 2;
/** While more jobs than this wait for a worker, a tenant that has had its share is not given more. */
const CROWDED = 50;
const COUNT_EVERY_MS = 500;
const CROWDED_AGAIN_MS = 1_000;
/** Those that come again while it is crowded come one after the other, and not more often than that. */
const APART_MS = 20;
const SPREAD_MOST_MS = 60_000;
/** Tenants that have all of their share are forgotten beyond this number: anybody may write any name. */
const KNOWN_MOST = 1_000;

interface Share {
  /** What may be taken now without waiting. */
  left: number;
  atMs: number;
  /** When the last of those that wait in line has its turn. */
  lineMs: number;
  held: number;
}

/**
 * How soon what tenants hand in by the queue is taken, so that one of them who sends ten thousand jobs does not have the
 * others wait for ten thousand. Each has a share; what is over it waits in line, and goes back to the queue meanwhile.
 * Of one process; when it is forgotten, everybody has a fresh share.
 */
export function createShares({
  perSecond,
  waiting,
  now = Date.now,
  random = Math.random,
}: {
  /** Each tenant's share. */
  perSecond: number;
  /** How many jobs wait for a worker. */
  waiting: () => Promise<number>;
  now?: () => number;
  random?: () => number;
}) {
  const most = Math.max(1, perSecond * BURST_SECONDS);
  const shares = new Map<string, Share>();
  let crowd = { isThere: false, untilMs: 0 };

  function find(tenant: string): Share {
    const known = shares.get(tenant);
    if (known) {
      known.left = Math.min(most, known.left + ((now() - known.atMs) * perSecond) / 1_000);
      known.atMs = now();
      return known;
    }
    if (shares.size >= KNOWN_MOST) {
      for (const [name, { lineMs, atMs }] of shares)
        if (Math.max(lineMs, atMs) + BURST_SECONDS * 1_000 < now()) shares.delete(name);
    }
    const fresh = { left: most, atMs: now(), lineMs: 0, held: 0 };
    shares.set(tenant, fresh);
    return fresh;
  }

  async function isCrowded(): Promise<boolean> {
    if (now() >= crowd.untilMs) {
      crowd = { ...crowd, untilMs: now() + COUNT_EVERY_MS };
      // A count that fails holds nobody up.
      crowd.isThere = (await waiting().catch(() => 0)) > CROWDED;
    }
    return crowd.isThere;
  }

  return {
    /** How many tenants are kept in memory. */
    known: (): number => shares.size,

    /** 0 when a tenant's job may be taken now; else in how many milliseconds. `isAgain`: it has been held before. */
    async holdMs(tenant: string, isAgain: boolean): Promise<number> {
      const share = find(tenant);
      if (!isAgain) {
        if (share.left >= 1 && share.lineMs <= now()) {
          share.left -= 1;
          return 0;
        }
        share.lineMs = Math.max(share.lineMs, now()) + 1_000 / perSecond;
        // Whoever stands in line has used up what was left.
        share.left = 0;
        share.held += 1;
        return Math.ceil(share.lineMs - now());
      }
      if (await isCrowded()) {
        return Math.ceil(CROWDED_AGAIN_MS + random() * Math.min(share.held * APART_MS, SPREAD_MOST_MS));
      }
      share.held = Math.max(0, share.held - 1);
      return 0;
    },
  };
}
