import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, test } from "vitest";

const SRC = new URL("../../src/", import.meta.url).pathname;

/** Who may import whom. Read it top to bottom: nobody looks down. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  core: [],
  files: ["core"],
  provider: ["core"],
  queues: ["core"],
  workers: ["core", "files", "provider", "queues"],
  producers: ["core", "files", "queues"],
  embedded: [],
  simulator: [],
  // Becomes a package of its own, which has nothing of the rest.
  client: [],
};
/** Files in src itself build and start the rest. */
const TOP = [
  ...[
    "account.ts",
    "app.ts",
    "batches.ts",
    "cli.ts",
    "config.ts",
    "doors.ts",
    "inboxes.ts",
    "intake.ts",
    "keeping.ts",
    "keys.ts",
    "log.ts",
    "parts.ts",
    "settings-file.ts",
    "start.ts",
  ],
  ...["tenants.ts", "cli"],
];
/** The only places that may import a package. */
const ONLY_IN: Record<string, readonly string[]> = {
  bullmq: ["queues"],
  "unpdf/pdfjs": ["files"],
  ioredis: ["queues", "app.ts", "cli", "embedded"],
  "csv-parse": ["producers"],
};
/** Layers of which others see types only. */
const TYPES_ONLY: Record<string, readonly string[]> = { producers: ["queues"] };

function filesIn(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesIn(path) : path.endsWith(".ts") ? [path] : [];
  });
}

const layerOf = (path: string) => relative(SRC, path).split("/")[0] ?? "";

describe("each file imports only what its layer may", () => {
  test.each(filesIn(SRC).map((path) => relative(SRC, path)))("%s", (name) => {
    const path = join(SRC, name);
    const layer = layerOf(path);
    const isTop = TOP.includes(layer);
    expect(isTop || layer in MAY_IMPORT, `${layer} is no layer`).toBe(true);
    const text = readFileSync(path, "utf8");
    for (const [, typeOnly, from] of text.matchAll(/^(?:import|export)\s+(type\s)?[^;]*?from "([^"]+)"/gms)) {
      if (from === undefined) continue;
      if (!from.startsWith(".")) {
        const places = ONLY_IN[from];
        if (places) expect(places, `${name} imports ${from}`).toContain(layer);
        continue;
      }
      const target = layerOf(join(dirname(path), from));
      if (target === layer || isTop) continue;
      expect(MAY_IMPORT[layer], `${name} imports ${from}`).toContain(target);
      if (TYPES_ONLY[layer]?.includes(target))
        expect(typeOnly, `${name} imports ${from} for more than types`).toBeDefined();
    }
    if (name !== "config.ts" && !/^(start|cli)/.test(name)) {
      expect(
        /process\.env\b/.test(text.replaceAll(/\/\*.*?\*\/|\/\/.*$/gms, "")),
        `${name} reads the environment`,
      ).toBe(false);
    }
  });
});
