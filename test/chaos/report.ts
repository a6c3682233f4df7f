import type { Outcome } from "./run.ts";

/** What a run was like, for people. */
export function toText({ violations, counts, mishaps, recoveryMs, sigtermMs, durationMs, restMs }: Outcome): string {
  return [
    `Duration           ${seconds(durationMs)}; at rest ${restMs === undefined ? "not in time" : `${seconds(restMs)} after the last misfortune`}`,
    `Happened           ${list(mishaps)}`,
    `Requests, people   ${list(counts)}`,
    `Taken up again after SIGKILL   ${distribution(recoveryMs)}`,
    `Ended after SIGTERM            ${distribution(sigtermMs)}`,
    `Promises broken    ${violations.length}`,
    ...violations.map(({ text }) => `  ${text}`),
  ].join("\n");
}

function list(counts: Record<string, number>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${count} ${name}`)
    .join(", ");
}

/** How often, and how long. */
export function distribution(times: readonly number[]): string {
  if (times.length === 0) return "never measured";
  const at = (share: number) => seconds(quantile(times, share));
  return `${times.length} times: p50 ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, most ${at(1)}`;
}

/** The time that this share of all did not exceed; 0 for none at all. */
export function quantile(times: readonly number[], share: number): number {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0;
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
