import { styleText } from "node:util";

/** A problem that is told in one sentence, without a stack, and ends the command with `exitCode`. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly exitCode: number;
  constructor(message: string, exitCode: number = EXIT.error) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** What the commands' exit codes say. */
export const EXIT = { done: 0, error: 1, endedOtherwise: 2, interrupted: 130 } as const;

export type Paint = "bold" | "dim" | "green" | "yellow" | "red" | "cyan";

/** One of the two streams a command writes to. */
export interface Writer {
  /** Writes a line, or several. */
  line(text?: string): void;
  /** The text in colour where the reader can see colour. */
  paint(format: Paint | Paint[], text: string): string;
  readonly isTTY: boolean;
  /** Columns; undefined when nobody looks at it. */
  readonly width: number | undefined;
  readonly stream: NodeJS.WritableStream;
}

/** Where a command reads and writes. Results go to `out`; everything for the person beside them goes to `err`. */
export interface Terminal {
  readonly out: Writer;
  readonly err: Writer;
  readonly stdin: NodeJS.ReadStream;
}

/** Colour needs a terminal, and nobody who set NO_COLOR. */
export function createWriter(stream: NodeJS.WriteStream): Writer {
  const isTTY = stream.isTTY === true;
  const colour = isTTY && stream.hasColors();
  return {
    line: (text = "") => void stream.write(`${text}\n`),
    paint: (format, text) => (colour ? styleText(format, text, { validateStream: false }) : text),
    isTTY,
    get width() {
      return isTTY ? stream.columns : undefined;
    },
    stream,
  };
}

export function createTerminal(): Terminal {
  return { out: createWriter(process.stdout), err: createWriter(process.stderr), stdin: process.stdin };
}

/** Text from elsewhere, without anything that would steer the terminal or turn the writing round. */
export function visible(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").trim();
}

/** Milliseconds as people say them: "0.8 s", "12 s", "4 min", "3 h", "2 d". */
export function spell(ms: number): string {
  const seconds = Math.max(ms, 0) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 100 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** A local time that can be compared with a clock on the wall: "2026-11-24 08:25:44". */
export function when(iso: string): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return visible(iso);
  const two = (n: number) => String(n).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
