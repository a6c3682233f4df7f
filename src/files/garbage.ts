import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Between two collections. Each takes a fraction of a millisecond. */
const EVERY_BYTES = 4 << 20;

type Collect = (options: { type: "minor" }) => void;

const collect = findCollect();
let passedBytes = 0;

/**
 * Told of every block of a document that is done with. Blocks live outside the heap, so thousands of them come and go
 * before the collector of young objects has a reason to run; what then runs is the one that walks through everything,
 * again and again, and takes half of the processor's time. Collecting the young ones now and then spares it, and keeps
 * memory flat.
 */
export function passedOn(sizeBytes: number): void {
  passedBytes += sizeBytes;
  if (passedBytes < EVERY_BYTES) return;
  passedBytes = 0;
  collect?.({ type: "minor" });
}

/** V8 hands its collector out to scripts of a context that is made while the flag is set. */
function findCollect(): Collect | undefined {
  try {
    setFlagsFromString("--expose-gc");
    return runInNewContext("gc") as Collect;
  } catch {
    return undefined;
  } finally {
    setFlagsFromString("--no-expose-gc");
  }
}
