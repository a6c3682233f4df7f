/**
 * What `signpipe start` runs, together or each in a process of its own. "keeping" is the housekeeping: requests without
 * a next step, late orphans, callbacks and results. One process of a deployment does it. "intake" does nothing where
 * INTAKE is not set.
 */
export const PARTS = ["api", "inbox", "intake", "workers", "keeping"] as const;
export type Part = (typeof PARTS)[number];
