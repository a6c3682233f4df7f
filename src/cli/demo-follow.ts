import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { STAGE_NAMES } from "../workers/index.ts";
import { type Client, isOver, type Request } from "./client.ts";
import type { People } from "./demo-people.ts";
import type { LiveLine } from "./live.ts";
import { describe, stageIndex } from "./progress.ts";
import { spell, visible } from "./terminal.ts";

const LOOK_MS = 200;

/** How far a request came before time ran out. */
export interface Followed {
  request?: Request;
  tookMs: number;
}

/** Whom it asks, who acts, and until when. */
interface Following {
  client: Client;
  people: People;
  stopping: AbortSignal;
}

/** Reads a request until it is over, and has people act when it waits for them. */
export async function followRequest(
  reference: string,
  line: LiveLine,
  { client, people, stopping }: Following,
): Promise<Followed> {
  const beganMs = Date.now();
  const took = () => Date.now() - beganMs;
  const steps = STAGE_NAMES.length + 1;
  let request: Request | undefined;
  line.set(0, steps, "in the inbox, until it has not changed for a moment");
  while (!stopping.aborted) {
    const page = await client.page({ reference, limit: "1" }).catch((error: unknown) => {
      if (!stopping.aborted) throw error;
    });
    request = page?.items[0] ?? request;
    if (request) {
      const done = stageIndex(STAGE_NAMES, request) + 1;
      if (isOver(request.state)) {
        line.set(done, steps, request.state === "done" ? `signed, after ${spell(took())}` : describe(request));
        return { request, tookMs: took() };
      }
      const deed = request.state === "waiting" ? await people.act(request) : undefined;
      line.set(done, steps, deed === undefined ? describe(request) : `${request.stage}: ${deed}`);
    }
    await pause(LOOK_MS, undefined, { signal: stopping }).catch(() => {});
  }
  return { ...(request && { request }), tookMs: took() };
}

/** Follows several requests on one line, which counts those that are signed. In the order of `references`. */
export async function followMany(references: string[], line: LiveLine, context: Following): Promise<Followed[]> {
  const beganMs = Date.now();
  const doneOf = references.map(() => 0);
  let signed = 0;
  const total = references.length * (STAGE_NAMES.length + 1);
  const show = () => {
    const done = doneOf.reduce((sum, one) => sum + one, 0);
    const isAll = signed === references.length;
    const says = isAll
      ? `all signed, after ${spell(Date.now() - beganMs)}`
      : `${signed} of ${references.length} signed`;
    line.set(done, total, says);
  };
  show();
  return await Promise.all(
    references.map(async (reference, i) => {
      const step = (done: number) => {
        doneOf[i] = done;
        show();
      };
      const followed = await followRequest(reference, { set: step }, context);
      if (followed.request?.state === "done") signed += 1;
      show();
      return followed;
    }),
  );
}

/** Waits for the note that a file which cannot be signed gets. */
export async function followBroken(
  name: string,
  line: LiveLine,
  { failed, stopping }: { failed: string; stopping: AbortSignal },
): Promise<{ note?: { path: string; text: string }; tookMs: number }> {
  const beganMs = Date.now();
  line.set(0, 1, "in the inbox: not complete, it may still be arriving");
  while (!stopping.aborted) {
    const found = readdirSync(failed).find(
      (file) => file.startsWith(name.replace(/\.pdf$/, "")) && file.endsWith(".error.txt"),
    );
    if (found !== undefined) {
      const path = join(failed, found);
      const text = visible(readFileSync(path, "utf8").split("\n")[0] ?? "");
      line.set(1, 1, `set aside with a note, after ${spell(Date.now() - beganMs)}`);
      return { note: { path, text }, tookMs: Date.now() - beganMs };
    }
    await pause(LOOK_MS, undefined, { signal: stopping }).catch(() => {});
  }
  return { tookMs: Date.now() - beganMs };
}
