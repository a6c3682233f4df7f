import type { Logger } from "pino";
import type { Settings } from "./config.ts";
import { type ConfiguredInbox, defaultInboxConfig } from "./inboxes.ts";
import type { Check } from "./producers/api/status.ts";
import type { InboxParts } from "./producers/inbox/config.ts";
import { createInbox, type Inbox } from "./producers/inbox/inbox.ts";
import type { InboxLease } from "./queues/inbox-lease.ts";

/** Name of the inbox in DATA_DIR, in metrics and for its lease; no other can have it. */
export const DEFAULT_INBOX = "default";

export type Inboxes = ReturnType<typeof createInboxes>;

/** The inbox in DATA_DIR, and those that the operator has set up besides. Nothing is looked at before the start. */
export function createInboxes({
  settings,
  configured,
  lease,
  log,
  ...parts
}: Pick<InboxParts, "pipeline" | "documents" | "appearances" | "batches" | "room"> & {
  settings: Settings;
  configured: readonly ConfiguredInbox[];
  lease: (name: string) => InboxLease;
  log: Logger;
}) {
  const dataDir = settings.DATA_DIR;
  const first = createInbox({
    ...parts,
    dataDir,
    lease: lease(DEFAULT_INBOX),
    config: defaultInboxConfig(settings),
    log,
  });
  const others = new Map<string, Inbox>();
  for (const { root, config } of configured) {
    const own = log.child({ inbox: root.name });
    others.set(root.name, createInbox({ ...parts, dataDir, root, config, lease: lease(root.name), log: own }));
  }

  return {
    first,

    /** Every inbox by its name. */
    all: (): ReadonlyMap<string, Inbox> => new Map([[DEFAULT_INBOX, first], ...others]),

    /** One that is away does not keep the others from starting. Throws what the one in DATA_DIR throws. */
    async start(): Promise<void> {
      await first.start();
      await Promise.all([...others.values()].map((inbox) => inbox.start()));
    },

    async stop(): Promise<void> {
      await Promise.all([first, ...others.values()].map((inbox) => inbox.stop()));
    },

    /** How each of the others is, by its name. */
    checks: (): Record<string, Check> => Object.fromEntries([...others].map(([name, inbox]) => [name, inbox.check()])),
  };
}
