/** What a process of a deployment under test is started with, as a file: its environment stays empty. */
export interface Start {
  parts: ("api" | "inbox" | "workers" | "keeping")[];
  settings: Record<string, string>;
  redisUrl: string;
  oneshotUrl: string;
  naive?: boolean;
  /** JSON: the crash point of each request that has one. */
  planPath?: string;
  /** Where a request that is at its point is written down, so that it happens to it once. */
  hitsPath?: string;
  /** Where the names of all crash points that were passed are written down. */
  pointsPath?: string;
}

/** What the harness tells it. */
export interface Order {
  kind: "die-at-boundary";
  /** At the how-manieth crash point from now. */
  after: number;
}

/** What it tells the harness. */
export type Report =
  { kind: "ready" } | { kind: "taken"; id: string; stage: string; atMs: number } | { kind: "dying"; atMs: number };

/** Redis could not be reached when it started: whoever runs it starts it again. */
export const EXIT_NOT_READY = 3;
