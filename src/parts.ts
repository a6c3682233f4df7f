/**
 * What `signpipe start` runs, together or each in a process of its own. "keeping" is the housekeeping: requests without
 * a next step, late orphans, callbacks. One process of a deployment does it.
 */
export const PARTS = ["api", "inbox", "workers", "keeping"] as const;
export type Part = (typeof PARTS)[number];
