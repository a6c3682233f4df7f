import { readFileSync, renameSync, watch, writeFileSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { until } from "../helpers/signpipe-process.ts";
import { makePdf } from "../integration/inbox-house.ts";
import { KINDS, SETTLE_MS, startPlace } from "./place.ts";

/** How many events wait for a process at the most; what comes then is lost. @source inotify(7) */
const QUEUE = "/proc/sys/fs/inotify/max_queued_events";

test.skipIf(process.platform !== "linux").each(KINDS)(
  "W1: %s finds what came while the queue of events was full, which loses the rest, by its listing",
  async (kind) => {
    const most = Number(readFileSync(QUEUE, "utf8"));
    const place = await startPlace(kind, {
      settings: { INBOX_SETTLE_MS: String(2 * SETTLE_MS) },
      entry: { watch: "native", sweep: "1s" },
    });
    await place.listed();
    // A witness beside the inbox's own watcher: this process has one queue for all of them.
    let heard = 0;
    let heardOfLast = false;
    const witness = watch(place.at("inbox"), (_event, name) => {
      heard += 1;
      // Later ones tell of its being taken.
      heardOfLast ||= name === "last.pdf" && heard <= most;
    });
    onTestFinished(() => witness.close());

    // All of it while nothing can be read from the queue, since it is this process that is busy.
    const flicker = [place.at("inbox", ".a"), place.at("inbox", ".b")] as const;
    writeFileSync(flicker[0], "");
    for (let n = 0; n < most; n++) renameSync(flicker[n % 2] as string, flicker[(n + 1) % 2] as string);
    place.drop("last.pdf", makePdf("last"));
    expect(heard).toBe(0);

    await place.taken("last.pdf");
    await until("that the queue is read", () => heard >= most || undefined);
    expect(heardOfLast).toBe(false);
    expect(heard).toBeLessThan(2 * most);
    expect(place.names("inbox")).toEqual([]);
  },
);
