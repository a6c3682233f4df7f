import type { WaitName } from "../core/ages.ts";
import { waitFor, type Waiting } from "../core/outcome.ts";
import type { Intent } from "../core/stage.ts";

/**
 * After silence, where the provider does not show that a call has worked: until `settleMs` after it left it may still be
 * at work, and is waited for; then it is "repeat". `poll` makes looks before that, where one may show more.
 */
export function whileAtWork(
  what: WaitName,
  { atMs }: Pick<Intent, "atMs">,
  { settleMs, now, poll }: { settleMs: number; now: () => number; poll?: (quietMs: number) => number },
): Waiting | "repeat" {
  const clearMs = atMs + settleMs;
  if (now() >= clearMs) return "repeat";
  const leftMs = () => Math.max(clearMs - now(), 50);
  return waitFor(what, {
    whose: "provider",
    poll: poll ? (quietMs) => Math.min(poll(quietMs), leftMs()) : leftMs,
    within: settleMs + 3_600_000,
    expires: "failed",
  });
}
