/** Prints a benchmark's figures: a line of JSON for run.ts, rounded for people. */
export function report(name: string, figures: Record<string, number>): void {
  const rounded = Object.fromEntries(
    Object.entries(figures).map(([what, value]) => [what, Number(value.toPrecision(3))]),
  );
  process.stdout.write(`${JSON.stringify({ name, figures: rounded })}\n`);
}
