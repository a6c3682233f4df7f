/** The simulator's time of day, in milliseconds; tests may move it forward. */
export type Clock = { now: () => number; advance: (ms: number) => void };

export function createClock(): Clock {
  let offsetMs = 0;
  return {
    now: () => Date.now() + offsetMs,
    advance: (ms) => {
      offsetMs += ms;
    },
  };
}
