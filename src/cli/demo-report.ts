import { relative } from "node:path";
import type { Settings } from "../config.ts";
import type { Request } from "./client.ts";
import type { Checked } from "./demo-check.ts";
import { ageOf } from "./progress.ts";
import { paintState } from "./requests.ts";
import { renderTable } from "./table.ts";
import { spell, visible, type Writer } from "./terminal.ts";

/** What became of one thing that was dropped. */
export interface Outcome {
  label: string;
  request?: Request;
  checked: Checked[];
  /** Where the note of a file lies that was set aside, and its first line. */
  note?: { path: string; text: string };
  tookMs: number;
  problems: string[];
}

/** The table of what became of everything; under each row, where its result lies. */
export function report(outcomes: Outcome[], out: Writer): void {
  const rows: string[][] = [];
  const places: string[] = [];
  for (const { label, request, checked, note, tookMs } of outcomes) {
    if (!request) {
      rows.push(["-", label, note ? out.paint("yellow", "set aside") : out.paint("red", "lost"), spell(tookMs), ""]);
      places.push(note ? shorter(note.path) : "");
      continue;
    }
    const each =
      checked.length > 0 ? checked : request.documents.map(({ name }) => ({ document: name, by: [], path: "" }));
    for (const [i, { document, by, path }] of each.entries()) {
      rows.push([
        request.id.slice(0, 12),
        visible(document),
        paintState(out, request.state),
        i === 0 ? ageOf(request) : "",
        by.join(", "),
      ]);
      places.push(path && shorter(path));
    }
  }
  const columns = [
    { title: "REQUEST" },
    { title: "DOCUMENT", shrink: "middle" as const },
    { title: "STATE" },
    { title: "TIME", align: "right" as const },
    { title: "VERIFIED BY", shrink: "end" as const },
  ];
  const [head = "", ...lines] = renderTable(columns, rows, {
    width: out.width,
    title: (text) => out.paint("bold", text),
  });
  out.line();
  out.line(head);
  for (const [i, line] of lines.entries()) {
    out.line(line);
    if (places[i]) out.line(`  ${out.paint("dim", `→ ${places[i]}`)}`);
  }
  out.line();
}

/** A request that went another way, and what became of it. */
export interface WorkflowOutcome extends Outcome {
  wentIn: string;
  comesOut: string;
}

/** One row for each other workflow: what went in, what came out, who found it good; under it, where that lies. */
export function reportWorkflows(outcomes: WorkflowOutcome[], out: Writer): void {
  const columns = [
    { title: "WORKFLOW" },
    { title: "WENT IN", shrink: "end" as const },
    { title: "CAME OUT", shrink: "end" as const },
    { title: "VERIFIED BY", shrink: "end" as const },
  ];
  const rows = outcomes.map(({ label, request, checked: [signed], wentIn, comesOut, problems }) => {
    if (signed && problems.length === 0) return [label, wentIn, comesOut, signed.by.join(", ")];
    return [label, wentIn, request ? paintState(out, request.state) : out.paint("red", "lost"), ""];
  });
  const [head = "", ...lines] = renderTable(columns, rows, {
    width: out.width,
    title: (text) => out.paint("bold", text),
  });
  out.line(head);
  for (const [i, line] of lines.entries()) {
    out.line(line);
    const path = outcomes[i]?.checked[0]?.path;
    if (path) out.line(`  ${out.paint("dim", `→ ${shorter(path)}`)}`);
  }
  out.line();
}

/** What it comes to: what went wrong, or what to try next. */
export function conclude(
  outcomes: Outcome[],
  {
    out,
    isGood,
    tookMs,
    logPath,
    settings,
  }: { out: Writer; isGood: boolean; tookMs: number; logPath: string; settings: Settings },
): void {
  const note = outcomes.find((outcome) => outcome.note)?.note;
  if (note) out.line(wrap(`The note beside the broken one says: ${note.text}`, out));
  if (!isGood) {
    out.line();
    for (const problem of outcomes.flatMap(({ problems }) => problems))
      out.line(`${out.paint("red", "WRONG")}  ${problem}`);
    out.line(`The log of this run: ${shorter(logPath)}`);
    return;
  }
  const signed = outcomes.flatMap(({ checked }) => checked).length;
  out.line();
  out.line(
    out.paint(
      "green",
      `All as it should be: ${signed} documents signed and checked, 1 set aside, in ${spell(tookMs)}.`,
    ),
  );
  out.line(
    wrap("Nothing was legally signed: the simulator made up its own certificate authority, which nobody trusts.", out),
  );
  out.line();
  out.line("Try next:");
  const rows = [
    ["  npm start", "stays up; drop your own PDFs into data/inbox"],
    ["  npm run -s signpipe -- doctor", "checks this machine and the settings"],
    ["  npm run -s signpipe -- --help", "submit, list, show, approve, code, …"],
    [`  ${shorter(settings.DATA_DIR)}/signed`, "what was signed, and evidence.json of it"],
  ];
  const columns = [{ title: "" }, { title: "", shrink: "end" as const }];
  for (const line of renderTable(columns, rows, { width: out.width }).slice(1)) out.line(line);
}

/** A path as it is shortest from here. */
export function shorter(path: string): string {
  const from = relative(process.cwd(), path);
  return from.startsWith("..") ? path : from;
}

/** Lines broken at words, for a terminal; as it is elsewhere. */
export function wrap(text: string, { width }: Writer, indent = ""): string {
  if (width === undefined) return text;
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width - 2 * indent.length) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].join(`\n${indent}`);
}
