import { MultiBar, Presets } from "cli-progress";
import type { Writer } from "./terminal.ts";

/** One thing that goes on, on a line of its own. */
export interface LiveLine {
  /** `done` of `total` steps are over; `text` says what is going on. */
  set(done: number, total: number, text: string): void;
}

/** Several things that go on at once: lines that change at a terminal, plain lines one after the other elsewhere. */
export interface Live {
  add(label: string): LiveLine;
  stop(): void;
}

const BAR_MOST = 22;

export function createLive(writer: Writer, labelWidth: number): Live {
  return writer.isTTY ? createBars(writer, labelWidth) : createLines(writer);
}

function createLines(writer: Writer): Live {
  return {
    add(label) {
      let last = "";
      return {
        set(_done, _total, text) {
          if (text === last) return;
          last = text;
          writer.line(`  ${label}: ${text}`);
        },
      };
    },
    stop() {},
  };
}

function createBars(writer: Writer, labelWidth: number): Live {
  const bars = new MultiBar(
    {
      stream: writer.stream,
      format: `  {label}  ${writer.paint("cyan", "{bar}")}  {text}`,
      barsize: Math.max(Math.min(BAR_MOST, Math.floor((writer.width ?? 80) / 5)), 6),
      hideCursor: true,
      linewrap: false,
      fps: 8,
      gracefulExit: false,
    },
    { ...Presets.shades_classic, barCompleteChar: "━", barIncompleteChar: "─" },
  );
  return {
    add(label) {
      const bar = bars.create(1, 0, { label: label.padEnd(labelWidth), text: "" });
      return {
        set(done, total, text) {
          bar.setTotal(total);
          bar.update(done, { text });
        },
      };
    },
    stop: () => bars.stop(),
  };
}
