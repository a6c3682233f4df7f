import type { Reporter, TestModule } from "vitest/node";

/** Prints the run's result as one plain line at the very end, for people and for machines that read logs. */
export const closingLine: Reporter = {
  onTestRunEnd(modules, unhandledErrors) {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const count = (state: string): number => tests.filter((test) => test.result().state === state).length;
    // A file that could not be loaded, or an error outside of every test, counts as a failure as well.
    const broken = modules.filter((module) => module.errors().length > 0 || hasBrokenSuite(module)).length;
    const failed = count("failed") + broken + unhandledErrors.length;
    const skipped = count("skipped");
    const line = `${count("passed")} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
    // On exit, so that it stands below the default reporter's summary.
    process.once("exit", () => process.stdout.write(`${line}\n`));
  },
};

function hasBrokenSuite(module: TestModule): boolean {
  return [...module.children.allSuites()].some((suite) => suite.errors().length > 0);
}
