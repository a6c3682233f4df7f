import { z } from "zod";

/** One line of a request's history. */
export const HistoryLine = z.object({
  atMs: z.number(),
  event: z.string(),
  stage: z.string(),
  phase: z.string(),
  /** Who caused it, when it was a person or a system outside: "api:<key name>", "webhook", "inbox". */
  by: z.string().optional(),
  /** An error code or a short plain word; never personal data. */
  note: z.string().optional(),
});
export type HistoryLine = z.infer<typeof HistoryLine>;

/** Short for the words that every history is full of. What is not here is written out. */
const SHORT: Readonly<Record<string, string>> = {
  start: "s",
  intend: "i",
  succeed: "d",
  wait: "w",
  retry: "r",
  end: "e",
  note: "n",
  queued: "q",
  running: "u",
  waiting: "p",
  retrying: "t",
};
const LONG = Object.fromEntries(Object.entries(SHORT).map(([word, short]) => [short, word]));

/** A line as it is kept in Redis: short, because every request has some thirty of them. Fields are separated by "|". */
export function encodeLine(line: HistoryLine, createdMs: number): string {
  const at = Math.max(0, line.atMs - createdMs).toString(36);
  const [event, phase] = [line.event, line.phase].map((word) => SHORT[word] ?? word);
  const parts = [at, event ?? "", line.stage, phase ?? "", line.by ?? "", line.note ?? ""].map((part) =>
    part.replaceAll(/[|\n]/g, " "),
  );
  return parts.join("|").replace(/\|+$/, "");
}

export function decodeLine(text: string, createdMs: number): HistoryLine {
  const [at = "0", event = "", stage = "", phase = "", by, note] = text.split("|");
  return {
    atMs: createdMs + Number.parseInt(at, 36),
    event: LONG[event] ?? event,
    stage,
    phase: LONG[phase] ?? phase,
    ...(by && { by }),
    ...(note && { note }),
  };
}
