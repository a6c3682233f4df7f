/** A length of time as people write it: "90s", "5m", "24h". Numbers in code are milliseconds and end in `Ms`. */
export type Duration = `${number}${"ms" | "s" | "m" | "h" | "d"}`;

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Milliseconds in `duration`. Throws TypeError for anything that is not a number with a unit. */
export function toMs(duration: Duration): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(duration) ?? [];
  if (!amount || !unit) throw new TypeError(`Not a duration: "${duration}"; write for example "90s" or "5m".`);
  return Number(amount) * UNIT_MS[unit as keyof typeof UNIT_MS];
}
