import { defineConfig } from "vitest/config";
import { closingLine } from "./test/closing-line.ts";

const REDIS = "./test/helpers/redis.ts";

/** Projects: what they need, and how long a single test may take (ms). Types are checked by tsc alone. */
const PROJECTS = [
  { name: "unit", testTimeout: 5_000, globalSetup: [] },
  { name: "simulator", testTimeout: 20_000, globalSetup: [] },
  { name: "conformance", testTimeout: 20_000, globalSetup: [] },
  { name: "integration", testTimeout: 30_000, globalSetup: [REDIS] },
  { name: "property", testTimeout: 90_000, globalSetup: [REDIS] },
  { name: "acceptance", testTimeout: 90_000, globalSetup: [REDIS] },
  { name: "e2e", testTimeout: 90_000, globalSetup: [REDIS] },
  { name: "foreign", testTimeout: 60_000, globalSetup: [REDIS] },
  { name: "fault", testTimeout: 120_000, globalSetup: [REDIS] },
  { name: "chaos", testTimeout: 240_000, globalSetup: [] },
  { name: "browser", testTimeout: 90_000, globalSetup: [REDIS] },
];

export default defineConfig({
  test: {
    pool: "forks",
    maxWorkers: 2,
    // Of tests that run side by side, in one file: each may have processes of its own, and there may be two cores.
    maxConcurrency: 4,
    teardownTimeout: 30_000,
    reporters: ["default", closingLine],
    projects: PROJECTS.map(({ name, testTimeout, globalSetup }) => ({
      extends: true,
      test: { name, include: [`test/${name}/**/*.test.ts`], testTimeout, hookTimeout: testTimeout, globalSetup },
    })),
  },
});
