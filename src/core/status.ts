/** What is happening to a request at its current stage. The last five are ends. */
export const PHASES = [
  "queued",
  "running",
  "waiting",
  "retrying",
  "done",
  "refused",
  "cancelled",
  "expired",
  "failed",
] as const;
export type Phase = (typeof PHASES)[number];

/** How a request can end otherwise than done. */
export const ENDINGS = ["refused", "cancelled", "expired", "failed"] as const;
export type Ending = (typeof ENDINGS)[number];

/**
 * What can happen to a request.
 * start: a worker is at it (not written for what is over within a second) · intend: its costly call is about to leave · succeed: the stage is over ·
 * wait: somebody else's turn · retry: the attempt failed and will be repeated · end: it goes to cleanup, to end
 * otherwise than done · abandon: cleanup itself gave up · requeue: it goes back to an earlier stage · clean: what is over,
 * and whose cleanup gave up, is cleaned up again, and ends as before.
 */
export type Event = "start" | "intend" | "succeed" | "wait" | "retry" | "end" | "abandon" | "requeue" | "clean";

/** What can become of a request that is not over and not about to be repeated. */
const UNDER_WAY = {
  intend: "running",
  succeed: "queued",
  wait: "waiting",
  retry: "retrying",
  end: "queued",
  abandon: "failed",
  requeue: "queued",
} as const;

/** Every legal move. An event that is missing from a row is illegal in that phase. */
export const MOVES = {
  queued: { start: "running", ...UNDER_WAY },
  running: { start: "running", ...UNDER_WAY },
  waiting: UNDER_WAY,
  retrying: { start: "running", end: "queued" },
  done: {},
  refused: { clean: "queued" },
  cancelled: { clean: "queued" },
  expired: { requeue: "queued", clean: "queued" },
  failed: { requeue: "queued", clean: "queued" },
} as const satisfies Record<Phase, Partial<Record<Event, Phase>>>;

/** Where a request is: "upload, retrying". */
export interface Position {
  stage: string;
  phase: Phase;
}

/** Thrown when an event is not possible where the request is. */
export class IllegalMove extends Error {
  override readonly name = "IllegalMove";
  readonly code = "illegal-move";
  constructor(at: Position, event: Event) {
    super(`"${event}" is not possible while ${at.stage} is ${at.phase}`);
  }
}

/** The phases in which `event` is legal. */
export function phasesFor(event: Event): Phase[] {
  return PHASES.filter((phase) => event in MOVES[phase]);
}

export function isEnd(phase: Phase): boolean {
  return !("start" in MOVES[phase]) && phase !== "waiting";
}

/**
 * The position after `event`. Success moves to the next stage, or ends the request after the last one: as `ending`
 * when it was on its way to end otherwise, else as "done". "end" goes to the last stage, which cleans up. "requeue"
 * needs `to`; "clean" needs the end it has come to as `ending`. Throws IllegalMove.
 */
export function move(
  at: Position,
  event: Event,
  { stages, ending, to }: { stages: readonly string[]; ending?: Ending | undefined; to?: string },
): Position {
  const phase = (MOVES[at.phase] as Partial<Record<Event, Phase>>)[event];
  const last = stages[stages.length - 1];
  if (!phase || last === undefined) throw new IllegalMove(at, event);
  switch (event) {
    case "end":
      if (at.stage === last && ending) throw new IllegalMove(at, event);
      return { stage: last, phase };
    case "abandon":
      return { stage: at.stage, phase: ending ?? phase };
    case "requeue":
      if (!to || !stages.includes(to)) throw new IllegalMove(at, event);
      return { stage: to, phase };
    case "clean":
      if (at.stage !== last || ending !== at.phase) throw new IllegalMove(at, event);
      return { stage: last, phase };
    case "succeed": {
      const next = stages[stages.indexOf(at.stage) + 1];
      return next ? { stage: next, phase } : { stage: at.stage, phase: ending ?? "done" };
    }
    default:
      return { stage: at.stage, phase };
  }
}
