const SLICE_MS = 8;

/** Lets everybody else have a turn when a slice of time is used up. */
export function createBreath(): () => Promise<void> {
  let sinceMs = performance.now();
  return async () => {
    if (performance.now() - sinceMs < SLICE_MS) return;
    await new Promise((resolve) => setImmediate(resolve));
    sinceMs = performance.now();
  };
}

/** Does `act` for each item, at most `atOnce` at the same time. The first failure is thrown when all are through. */
export async function eachOf<T>(items: readonly T[], atOnce: number, act: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const failures: unknown[] = [];
  const lane = async () => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) {
      await act(item).catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, lane));
  if (failures.length > 0) throw failures[0];
}
