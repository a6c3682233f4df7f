import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { SignRequest } from "../../src/core/request.ts";
import type { InboxStatus } from "../../src/producers/inbox/config.ts";
import type { Inbox } from "../../src/producers/inbox/inbox.ts";
import { MARKER } from "../../src/producers/inbox/presence.ts";
import { type AtEnd, type House, readJson, SIGNER, startHouse } from "../helpers/house.ts";
import { spawnSignpipe, type SignpipeProcess, until } from "../helpers/signpipe-process.ts";

/** An inbox is the one in DATA_DIR, or one of INBOXES_FILE, on a share: what holds for the one has to hold for the other. */
export const KINDS = ["the inbox in DATA_DIR", "an inbox of INBOXES_FILE"] as const;
export type Kind = (typeof KINDS)[number];

/** What every test has instead of 5 s: times in these tests are as many settle times as they are in life. */
export const SETTLE_MS = 150;
/** Long enough for anything that a busy machine does; nobody waits for it. */
export const PATIENCE = { timeout: 30_000, interval: 25 };

const QUICK = {
  INBOX_SETTLE_MS: String(SETTLE_MS),
  INBOX_SWEEP_MS: "100",
  INBOX_FOLDER_SETTLE_MS: String(2 * SETTLE_MS),
};

/** Folders of one kind, and the settings that belong to them: for a process, or a house, of the test's own. */
export function makeGround(
  kind: Kind,
  {
    entry = {},
    standing = { signer: SIGNER },
    atEnd = onTestFinished,
    below = tmpdir(),
    shareBelow = below,
  }: {
    /** Fields of the inbox in INBOXES_FILE. */
    entry?: object;
    /** What the inbox says of requests that leave it out; nothing with false. */
    standing?: object | false;
    atEnd?: AtEnd;
    /** Where DATA_DIR is made, and where the share, if they are to be on a disk of their own. */
    below?: string;
    shareBelow?: string;
  } = {},
) {
  const top = mkdtempSync(join(below, "signpipe-ground-"));
  const share = mkdtempSync(join(shareBelow, "signpipe-share-"));
  atEnd(({ task }) => {
    if (task.result?.state === "fail") return; // left for whoever looks into it
    for (const dir of [top, share]) rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  });
  const isNamed = kind === KINDS[1];
  const dataDir = join(top, "data");
  const dir = isNamed ? join(share, "legal") : dataDir;
  const at = (...names: string[]) => join(dir, ...names);
  for (const folder of [dataDir, dir, at("inbox")]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  const settings: Record<string, string> = { ...QUICK, DATA_DIR: dataDir };
  if (isNamed) {
    const given = { name: "legal", path: dir, sweep: "100ms", ...(standing && { defaults: standing }) };
    settings["INBOXES_FILE"] = join(top, "inboxes.json");
    writeFileSync(settings["INBOXES_FILE"], JSON.stringify([{ ...given, ...entry }]));
    writeFileSync(at(MARKER), "");
  } else if (standing) writeFileSync(at("inbox", "defaults.json"), JSON.stringify(standing));

  return {
    kind,
    isNamed,
    name: isNamed ? "legal" : "default",
    /** Folder of the inbox, with its folders: signed, failed and so on. */
    dir,
    at,
    dataDir,
    settings,
    /** Brings a whole file, as a careful person does. */
    drop(name: string | Buffer, bytes: Uint8Array | string): void {
      const outside = join(share, "outside");
      writeFileSync(outside, bytes);
      renameSync(
        outside,
        Buffer.isBuffer(name) ? Buffer.concat([Buffer.from(`${at("inbox")}/`), name]) : at("inbox", name),
      );
    },
    /** Names in a folder of the inbox, without defaults.json and what is hidden. */
    names: (folder: string): string[] =>
      existsSync(at(folder))
        ? readdirSync(at(folder))
            .filter((name) => !name.startsWith(".") && name !== "defaults.json")
            .sort()
        : [],
    status(name: string): Record<string, unknown> {
      const path = at("status", `${name}.status.json`);
      return existsSync(path) ? readJson(path) : {};
    },
    /** The id as which a file was taken, once it was. */
    async taken(name: string): Promise<string> {
      return await until(`that ${name} is taken`, () => this.status(name)["request_id"] as string | undefined);
    },
    /** The code on the note beside a file that came back. */
    noteOf: (name: string): string | undefined => {
      const path = at("failed", `${name}.error.json`);
      return existsSync(path) ? (readJson(path)["code"] as string) : undefined;
    },
  };
}
export type Ground = ReturnType<typeof makeGround>;

export type Place = Awaited<ReturnType<typeof startPlace>>;

/** The whole program on folders of one kind, with a Redis and a simulator; closed with the test. */
export async function startPlace(
  kind: Kind,
  {
    settings = {},
    work = false,
    atEnd = onTestFinished,
    before = () => {},
    ...more
  }: Parameters<typeof makeGround>[1] &
    Pick<NonNullable<Parameters<typeof startHouse>[0]>, "settings" | "work" | "simulator" | "redisUrl"> & {
      /** What is there before the program is. */
      before?: (ground: Ground) => void | Promise<void>;
    } = {},
) {
  const ground = makeGround(kind, { ...more, atEnd });
  await before(ground);
  const house = await startHouse({
    ...more,
    settings: { ...ground.settings, ...settings },
    dataDir: ground.dataDir,
    work,
    atEnd,
  });
  const inbox = await serve(house, ground);

  return {
    ...ground,
    house,
    figures: (): InboxStatus => inbox.status(),
    check: () => inbox.check(),
    requests: () => requestsOf(house),
    /** Resolves once the inbox has been listed at all: from then on what comes is news. */
    listed: () => until("the first listing", () => inbox.status().lastScanMs),
    /** Resolves once the inbox has been listed for so long as would have been enough to take what is there. */
    async watched(settleTimes = 4): Promise<void> {
      const fromMs = (await this.listed()) + settleTimes * SETTLE_MS;
      await until("enough listings", () => (inbox.status().lastScanMs ?? 0) > fromMs || undefined);
    },
    /** The one request that there is, once there is one; fails when there are more. */
    async only(): Promise<SignRequest> {
      const all = await this.count(1);
      return all[0] as SignRequest;
    },
    /** All requests, once there are so many; fails when there are more. */
    async count(wanted: number, withinMs?: number): Promise<SignRequest[]> {
      return await countRequests(house, wanted, withinMs);
    },
  };
}

/** Serves the inboxes of a house, here, until its test ends. The one that is meant. */
export async function serve(house: House, { name }: Pick<Ground, "name">): Promise<Inbox> {
  const inboxes = house.app.createInboxes();
  house.atEnd(() => inboxes.stop());
  await inboxes.start();
  const inbox = inboxes.all().get(name);
  if (!inbox) throw new Error(`there is no inbox ${name}`);
  return inbox;
}

/** All requests, once there are so many; fails when there are more. */
export async function countRequests(house: House, wanted: number, withinMs?: number): Promise<SignRequest[]> {
  const all = await until(
    `that there are ${wanted} requests`,
    async () => {
      const found = await requestsOf(house);
      return found.length >= wanted ? found : undefined;
    },
    withinMs,
  );
  if (all.length > wanted) throw new Error(`there are ${all.length} requests instead of ${wanted}`);
  return all;
}

/** The inbox of a house as a process of its own, as a deployment has it; ended with the test. */
export async function startInboxProcess(house: House, env: Record<string, string> = {}): Promise<SignpipeProcess> {
  const settings = Object.entries(house.app.settings).filter(([, value]) => value !== undefined);
  const given = Object.fromEntries(settings.map(([name, value]) => [name, String(value)]));
  const inbox = spawnSignpipe(
    ["start", "--only", "inbox"],
    {
      PATH: process.env["PATH"],
      HOME: process.env["HOME"],
      ...given,
      REDIS_URL: house.redisUrl,
      ONESHOT_URL: house.oneshotUrl,
      LOG_LEVEL: "warn",
      ...env,
    },
    house.atEnd,
  );
  const { child } = inbox;
  await until("that the inbox is served", () => {
    const isOver = child.exitCode !== null || child.signalCode !== null;
    return isOver || inbox.out().includes("\n") || undefined;
  });
  return inbox;
}

/** Every request that there is. */
export async function requestsOf({ app }: House): Promise<SignRequest[]> {
  const all: SignRequest[] = [];
  let cursor: string | undefined;
  do {
    const page = await app.pipeline.list({ limit: 200, ...(cursor !== undefined && { cursor }) });
    all.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return all;
}

/** Digests of a request's documents, in order. */
export function digestsOf({ facts }: SignRequest): string[] {
  return (facts["documents"] as { sha256: string }[]).map(({ sha256 }) => sha256);
}

/** Names of a request's documents, in order. */
export function namesOf({ facts }: SignRequest): string[] {
  return (facts["documents"] as { name: string }[]).map(({ name }) => name);
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
