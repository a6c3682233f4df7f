import { join } from "node:path";
import { createAppearances } from "../../src/files/appearances.ts";
import { createDocuments } from "../../src/files/documents.ts";
import type { InboxParts } from "../../src/producers/inbox/config.ts";
import { createInbox } from "../../src/producers/inbox/inbox.ts";

/** An inbox in a process of its own, to be killed. Its pipeline is the parent's. */
const dataDir = process.argv[2] ?? "";
const open = new Map<number, (answer: unknown) => void>();
let last = 0;

process.on("message", ({ n, answer }: { n: number; answer: unknown }) => open.get(n)?.(answer));
process.on("disconnect", () => process.exit());

function call(method: string) {
  return (...args: unknown[]) =>
    new Promise<never>((resolve) => {
      const n = ++last;
      open.set(n, resolve as (answer: unknown) => void);
      process.send?.({ n, method, args });
    });
}

const silent = () => {};
const parts: InboxParts = {
  dataDir,
  pipeline: {
    submit: call("submit"),
    bundle: call("bundle"),
    find: call("find"),
    signedBefore: call("signedBefore"),
    isReplaced: call("isReplaced"),
    takeChanged: call("takeChanged"),
    putBackChanged: call("putBackChanged"),
  },
  documents: createDocuments({ dir: join(dataDir, ".work") }),
  appearances: createAppearances({ dir: join(dataDir, "appearance"), kept: join(dataDir, "images") }),
  config: { settleMs: 20, folderSettleMs: 20, sweepMs: 50, followMs: 20 },
  log: { debug: silent, info: silent, warn: silent, error: silent },
};
await createInbox(parts).start();
