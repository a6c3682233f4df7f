import { Presets, SingleBar } from "cli-progress";
import type { Request } from "./client.ts";
import { spell, visible, type Writer } from "./terminal.ts";

/** What goes on, as one moving line at a terminal and as plain lines elsewhere. */
export interface Progress {
  /** `done` of `total` is over; `text` says what is going on. */
  set(done: number, total: number, text: string): void;
  /** Says something that stays. */
  say(line: string): void;
  stop(): void;
}

/** The text has what is left of the line beside the bar; below this width there is no room for a bar. */
const BAR_LEAST_WIDTH = 50;

/** Progress on `writer`. Without a terminal a text is written once, when it changes; numbers are left out. */
export function createProgress(writer: Writer): Progress {
  return writer.isTTY ? createBar(writer) : createLines(writer);
}

function createLines(writer: Writer): Progress {
  let last = "";
  return {
    set(_done, _total, text) {
      if (text === last) return;
      last = text;
      writer.line(text);
    },
    say: (line) => writer.line(line),
    stop() {},
  };
}

function createBar(writer: Writer): Progress {
  const width = writer.width ?? 80;
  const barsize = width < BAR_LEAST_WIDTH ? 0 : Math.min(30, Math.floor(width / 4));
  const options = {
    stream: writer.stream,
    format: `${barsize > 0 ? "{bar}  " : ""}{text}`,
    barsize,
    hideCursor: true,
    linewrap: false,
    fps: 10,
    clearOnComplete: true,
    // The interrupt is the command's own: it stops the bar and says what goes on without it.
    gracefulExit: false,
  };
  let bar: SingleBar | undefined;
  let text = "";
  const stop = (): void => {
    bar?.stop();
    bar = undefined;
  };
  return {
    set(done, total, next) {
      text = next;
      if (bar) {
        bar.setTotal(Math.max(total, 1));
        bar.update(done, { text });
        return;
      }
      bar = new SingleBar(options, { ...Presets.shades_classic, barCompleteChar: "━", barIncompleteChar: "─" });
      bar.start(Math.max(total, 1), done, { text });
    },
    say(line) {
      stop();
      writer.line(line);
    },
    stop,
  };
}

/** The stages in order, with where a request is among them. An ended one is past the last. */
export function stageIndex(stages: readonly string[], { stage, state }: Pick<Request, "stage" | "state">): number {
  return state === "done" ? stages.length : Math.max(stages.indexOf(stage), 0);
}

/** Whose turn it is and what to do, for a request that waits. Texts name what `waiting.for` says. */
const TURNS: Record<string, { who: string; todo?: (id: string) => string }> = {
  identification: { who: "the signer's video identification" },
  approval: { who: "a decision on the identification", todo: (id) => `signpipe approve ${id}  (or: refuse)` },
  code: { who: "the code the signer was sent", todo: (id) => `signpipe code ${id}` },
  "another code": { who: "the right code (the last one was wrong)", todo: (id) => `signpipe code ${id}` },
  "accepted RAO credentials": {
    who: "RAO credentials that the provider accepts",
    todo: () => "correct ONESHOT_RAO*, or TENANTS_FILE, and restart  (or: signpipe resume)",
  },
  "an accepted billing account": {
    who: "a billing account that the provider accepts",
    todo: () => "correct ONESHOT_BILLING_*, or TENANTS_FILE, and restart  (or: signpipe resume)",
  },
  "a configured tenant": {
    who: "a tenant that was taken out of the configuration",
    todo: (id) => `put it back and restart  (or: signpipe cancel ${id})`,
  },
  "a new OTP": { who: "a new code, after too many wrong ones", todo: (id) => `signpipe resend ${id}` },
};

/** What a request waits for, in words. */
export function whatFor(waitingFor: string): string {
  return TURNS[waitingFor]?.who ?? visible(waitingFor);
}

/** The command that gives a waiting request what it waits for; undefined when it is nobody's turn at a terminal. */
export function whatToDo({ id, waiting }: Pick<Request, "id" | "waiting">): string | undefined {
  return waiting && TURNS[waiting.for]?.todo?.(id);
}

/** Where a request is, in one line: "sign: waiting for the code the signer was sent". */
export function describe({ stage, state, waiting, failure }: Request): string {
  switch (state) {
    case "waiting":
      return `${stage}: waiting for ${waiting ? whatFor(waiting.for) : "its turn"}`;
    case "retrying":
      return `${stage}: trying again${failure ? ` (${visible(failure.code)})` : ""}`;
    case "queued":
    case "running":
      return stage;
    default:
      return failure ? `${state}: ${visible(failure.message)}` : state;
  }
}

/** How long a request took, or has been under way. */
export function ageOf({ created_at, updated_at, state }: Request, now = Date.now()): string {
  const until = ["done", "refused", "cancelled", "expired", "failed"].includes(state) ? Date.parse(updated_at) : now;
  return spell(until - Date.parse(created_at));
}
