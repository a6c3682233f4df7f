/** A figure that is to be reached, and where a benchmark's report has it. */
export interface Figure {
  bench: string;
  what: string;
  /** Key of what was measured, and of what it is compared with. */
  value: string;
  reference?: string;
  /** Key of what is judged; `value`, when left out. */
  judged?: string;
  unit: string;
  /** "more": at least `must`. "less": at most. */
  better: "more" | "less";
  /** Left out where nothing is asked for. */
  must?: number;
  aim?: number;
  /** The aim in words, when it is no number. */
  aimWords?: string;
}

export type Figures = Record<string, number>;

/** What is to be reached, in the order of the table. */
export const FIGURES: readonly Figure[] = [
  {
    bench: "chain",
    what: "Workflow with a provider that costs nothing, against a bare chain of as many stages",
    value: "requests/s, workflow, external authentication",
    reference: "requests/s, bare chain of as many stages (reference)",
    judged: "ratio",
    unit: "requests/s",
    better: "more",
    must: 0.5,
    aim: 0.9,
  },
  {
    bench: "chain",
    what: "The same, with codes",
    value: "requests/s, workflow with codes",
    reference: "requests/s, bare chain of as many stages (reference)",
    judged: "ratio with codes",
    unit: "requests/s",
    better: "more",
    must: 0.5,
    aim: 0.9,
  },
  {
    bench: "chain",
    what: "The least work of the workflow in that chain, without a check or a promise",
    value: "requests/s, chain with the least work of the workflow",
    reference: "requests/s, bare chain of as many stages (reference)",
    judged: "ratio, chain with the least work",
    unit: "requests/s",
    better: "more",
  },
  {
    bench: "chain",
    what: "Workflow against that least work",
    value: "requests/s, workflow, external authentication",
    reference: "requests/s, chain with the least work of the workflow",
    judged: "ratio, workflow against the least work",
    unit: "requests/s",
    better: "more",
  },
  {
    bench: "chain",
    what: "Redis commands per finished request",
    value: "commands per finished request",
    unit: "commands",
    better: "less",
    must: 60,
    aim: 32,
  },
  {
    bench: "chain",
    what: "The same, with codes",
    value: "commands per finished request, with codes",
    unit: "commands",
    better: "less",
    must: 60,
    aim: 32,
  },
  {
    bench: "journal",
    what: "Journal on against off",
    value: "requests/s, journal on",
    reference: "requests/s, journal off (reference)",
    judged: "ratio",
    unit: "requests/s",
    better: "more",
    aim: 0.9,
  },
  {
    bench: "journal",
    what: "CPU per request, journal on against off",
    value: "CPU ms per request, journal on",
    reference: "CPU ms per request, journal off (reference)",
    judged: "CPU ratio",
    unit: "ms",
    better: "less",
    aim: 1.1,
  },
  {
    bench: "journal",
    what: "Flushes of the journal per request, under load",
    value: "fsyncs of the journal per request",
    unit: "flushes",
    better: "less",
    aim: 1,
  },
  {
    bench: "batch",
    what: "Batch at 50 ms provider latency, a process for each core, against calls one after another",
    value: "requests/s, a process for each core",
    reference: "requests/s, one after another (reference)",
    judged: "ratio",
    unit: "requests/s",
    better: "more",
    must: 100,
    aimWords: "the provider's limit",
  },
  {
    bench: "batch",
    what: "The same, one process",
    value: "requests/s, one process",
    reference: "requests/s, one after another (reference)",
    judged: "ratio, one process",
    unit: "requests/s",
    better: "more",
  },
  {
    bench: "documents",
    what: "Upload to the API, against curl",
    value: "MB/s, upload to the API",
    reference: "MB/s, the same by curl to a plain receiver (reference)",
    judged: "ratio, upload to the API",
    unit: "MB/s",
    better: "more",
    must: 0.7,
    aim: 0.9,
  },
  {
    bench: "documents",
    what: "Upload to the provider, against curl",
    value: "MB/s, upload to the provider",
    reference: "MB/s, the same by curl (reference)",
    judged: "ratio, upload to the provider",
    unit: "MB/s",
    better: "more",
    must: 0.7,
    aim: 0.9,
  },
  {
    bench: "documents",
    what: "Signed PDF fetched, verified and stored, against curl",
    value: "MB/s, signed PDF fetched, verified and stored",
    reference: "MB/s, fetched by curl, put on disk and hashed (reference)",
    judged: "ratio, download",
    unit: "MB/s",
    better: "more",
    must: 0.7,
    aim: 0.9,
  },
  {
    bench: "memory",
    what: "Most memory with one PDF of 300 MB",
    value: "MB at the most, one PDF of 300 MB",
    reference: "MB at the most, one PDF of 1 MB (reference)",
    unit: "MB",
    better: "less",
    must: 250,
    aimWords: "as for 1 MB",
  },
  {
    bench: "inbox",
    what: "10,000 PDFs dropped at once: last one claimed, against a plain loop",
    value: "seconds until the last one is claimed",
    reference: "seconds, plain loop (reference)",
    judged: "ratio",
    unit: "s",
    better: "less",
    must: 3,
    aim: 1.5,
  },
  {
    bench: "inbox-burst",
    what: "40,000 PDFs in one burst that the queue of events cannot hold: those that are one request",
    value: "% of the files that are one request",
    unit: "%",
    better: "more",
    must: 100,
    aimWords: "all",
  },
  {
    bench: "inbox-burst",
    what: "The same: until all are requests",
    value: "files/s",
    unit: "files/s",
    better: "more",
  },
  {
    bench: "inbox-burst",
    what: "The same: most memory of the process",
    value: "MB at the most",
    unit: "MB",
    better: "less",
  },
  {
    bench: "inbox-latency",
    what: "From a drop to the first call of the provider, beyond settling: 99 of 100, idle",
    value: "ms beyond settling, idle, p99",
    reference: "ms beyond settling, idle, p50",
    unit: "ms",
    better: "less",
    must: 1_000,
    aim: 250,
  },
  {
    bench: "inbox-latency",
    what: "The same, beside a batch of 10,000 rows",
    value: "ms beyond settling, beside a large batch, p99",
    reference: "ms beyond settling, beside a large batch, p50",
    unit: "ms",
    better: "less",
    must: 2_000,
    aim: 500,
  },
  {
    bench: "inbox-latency",
    what: "One file until it is done, beside that batch against alone",
    value: "ms until done, beside a large batch",
    reference: "ms until done, alone (reference)",
    judged: "ratio, single file",
    unit: "ms",
    better: "less",
    must: 3,
    aim: 1.5,
  },
  {
    bench: "inbox-latency",
    what: "A batch of 500 rows, beside that of 10,000 against alone",
    value: "seconds, small batch beside the large one",
    reference: "seconds, small batch alone (reference)",
    judged: "ratio, small batch",
    unit: "s",
    better: "less",
    must: 4,
    aim: 2,
  },
  {
    bench: "scale",
    what: "Redis memory of an open request",
    value: "Redis bytes per open request",
    unit: "bytes",
    better: "less",
    must: 6_144,
    aim: 4_096,
  },
  {
    bench: "scale",
    what: "Redis memory of a finished request",
    value: "Redis bytes per finished request",
    unit: "bytes",
    better: "less",
    must: 2_048,
    aim: 1_024,
  },
  {
    bench: "scale",
    what: "CPU per request while 1,000, 10,000 and 100,000 wait: dearest against cheapest",
    value: "CPU ms per request, 100000 open",
    reference: "CPU ms per request, 1000 open",
    judged: "CPU per request, dearest against cheapest, 1000, 10000, 100000 open",
    unit: "ms",
    better: "less",
    must: 1.5,
    aimWords: "1",
  },
  {
    bench: "scale",
    what: "Idle CPU while 100,000 wait",
    value: "idle CPU, % of a core, 100000 open",
    unit: "% of a core",
    better: "less",
    must: 3,
    aim: 1,
  },
];

/** How a figure stands. "not measured": its benchmark was not run, or did not come to its end. */
export function judge({ judged, value, better, must, aim }: Figure, measured: Figures | undefined): string {
  const found = measured?.[judged ?? value];
  if (found === undefined) return "not measured";
  const reaches = (mark: number) => (better === "more" ? found >= mark : found <= mark);
  if (aim !== undefined && reaches(aim)) return "aim reached";
  if (must === undefined) return aim === undefined ? "for comparison" : "aim missed";
  return reaches(must) ? "must reached" : "MISSED";
}

const COLUMNS = ["Figure", "Measured", "Reference", "Ratio", "Must", "Aim", ""] as const;

/** The table: its head, then a row for each figure. */
export function toRows(figures: readonly Figure[], reports: ReadonlyMap<string, Figures>): string[][] {
  const rows = figures.map((figure): string[] => {
    const { bench, what, value, reference, judged, unit, better, must, aim, aimWords } = figure;
    const measured = reports.get(bench);
    const sign = better === "more" ? "≥" : "≤";
    const show = (key: string | undefined) => (key === undefined ? "" : toText(measured?.[key]));
    const withUnit = (text: string) => (text === "" || text === "–" ? text : `${text} ${unit}`);
    return [
      what,
      withUnit(show(value)),
      withUnit(show(reference)),
      show(judged),
      must === undefined ? "" : `${sign} ${must.toLocaleString("en")}`,
      aimWords ?? (aim === undefined ? "" : `${sign} ${aim.toLocaleString("en")}`),
      judge(figure, measured),
    ];
  });
  return [[...COLUMNS], ...rows];
}

function toText(value: number | undefined): string {
  return value === undefined ? "–" : value.toLocaleString("en", { maximumSignificantDigits: 3 });
}

export function toMarkdown([head = [], ...rows]: readonly string[][]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** For a terminal: columns as wide as they have to be. */
export function toPlain(rows: readonly string[][]): string {
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
