/**
 * Told at every boundary of a costly call and of a durable write, right before the next step. Nothing gives one but
 * tests, which end the process there; left out, it costs nothing. "group:next" is told before each further request of a
 * group is made, with that one's id.
 */
export type CrashPoint = (name: string, requestId: string) => void | Promise<void>;

/**
 * Boundaries of a costly call, in order; the point's name is "<effect>:<boundary>". "in-redis": the intent is in Redis
 * and not in the journal. "called": the outcome is known and not recorded. "recorded": the next job is not there yet.
 */
export const EFFECT_BOUNDARIES = [
  "before-intent",
  "in-redis",
  "in-journal",
  "called",
  "recorded",
  "handed-on",
] as const;
export type EffectBoundary = (typeof EFFECT_BOUNDARIES)[number];

/** Boundaries of a durable write, in order; the point's name is "<file name>:<boundary>". */
export const FILE_BOUNDARIES = ["written", "synced", "linked", "unlinked", "named"] as const;
export type FileBoundary = (typeof FILE_BOUNDARIES)[number];
