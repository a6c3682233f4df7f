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

/** A line as it is kept in Redis: short, because every request has some thirty of them. Fields are separated by "|". */
export function encodeLine(line: HistoryLine, createdMs: number): string {
  const at = Math.max(0, line.atMs - createdMs).toString(36);
  const parts = [at, line.event, line.stage, line.phase, line.by ?? "", line.note ?? ""].map((part) =>
    part.replaceAll(/[|\n]/g, " "),
  );
  return parts.join("|").replace(/\|+$/, "");
}

export function decodeLine(text: string, createdMs: number): HistoryLine {
  const [at = "0", event = "", stage = "", phase = "", by, note] = text.split("|");
  return {
    atMs: createdMs + Number.parseInt(at, 36),
    event,
    stage,
    phase,
    ...(by && { by }),
    ...(note && { note }),
  };
}
