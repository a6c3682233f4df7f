import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { COMMANDS, toParts, toStages } from "../../src/cli/commands.ts";
import { SETTINGS } from "../../src/config.ts";
import { REDIS_IMAGE } from "../../src/embedded/docker.ts";
import { PARTS } from "../../src/parts.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const COMPOSE = read("docker-compose.yml");

/** Everything below a key of the file, as lines; the file's own indentation of two is relied on. */
function below(lines: readonly string[], key: string): string[] {
  const at = lines.findIndex((line) => line.trimStart().startsWith(`${key}:`));
  if (at < 0) return [];
  const depth = (line: string) => line.length - line.trimStart().length;
  const [first = "", ...rest] = lines.slice(at);
  const end = rest.findIndex((line) => depth(line) <= depth(first));
  return [first, ...rest.slice(0, end < 0 ? undefined : end)];
}

const LINES = COMPOSE.split("\n").filter((line) => line.trim() !== "" && !line.trim().startsWith("#"));
const SERVICES = new Map(
  below(LINES, "services")
    .filter((line) => /^ {2}[a-z]+:$/.test(line))
    .map((line) => [line.trim().slice(0, -1), below(below(LINES, "services").slice(1), line.trim().slice(0, -1))]),
);
const service = (name: string) => SERVICES.get(name) ?? [];

/** The command of a service as the container gets it when nothing is set. */
function commandOf(name: string): string[] {
  return below(service(name), "command")
    .join(" ")
    .replace(/^\s*command:\s*(>-)?/, "")
    .replaceAll(/\$\{[A-Z_]+:-([^}]*)\}/g, "$1")
    .split(/\s+/)
    .filter(Boolean);
}

const namesIn = (lines: readonly string[]) => lines.flatMap((line) => /^\s+([A-Z][A-Z_]+):/.exec(line)?.[1] ?? []);
const SHARED = namesIn(below(LINES, "x-settings"));
const settingsOf = (name: string) => namesIn(below(service(name), "environment"));
const INTERPOLATED = new Set([...COMPOSE.matchAll(/\$\{([A-Z_]+)/g)].map(([, name = ""]) => name));
const SETTING_NAMES = Object.keys(SETTINGS.shape);

describe("docker-compose.yml", () => {
  test("has the services that docs/docker.md tells of", () => {
    const told = [...read("docs/docker.md").matchAll(/^\| `([a-z]+)` \|/gm)].map(([, name]) => name);
    expect([...SERVICES.keys()].sort()).toEqual(["api", "inbox", "prepare", "redis", "simulator", "workers"]);
    for (const name of SERVICES.keys()) expect(told).toContain(name);
  });

  test("runs each part in exactly one service", () => {
    const parts = ["api", "inbox"].flatMap((name) => {
      const [command, option, only = ""] = commandOf(name);
      expect([command, option]).toEqual(["start", "--only"]);
      return [...toParts(only)];
    });
    const [work, ...stages] = commandOf("workers");
    expect(work).toBe("work");
    expect(toStages(stages)).toEqual(toStages([]));
    expect([...parts, "workers"].sort()).toEqual([...PARTS].sort());
  });

  test("gives the simulator options that there are", () => {
    const [name, ...args] = commandOf("simulator");
    const known = COMMANDS.find((command) => command.name === name)?.options?.map(([flags]) => flags.split(" ")[0]);
    const given = args.filter((arg) => arg.startsWith("--"));
    expect(given.length).toBeGreaterThan(3);
    for (const flag of given) expect(known).toContain(flag);
  });

  test("hands on every setting, and none that does not exist", () => {
    const handed = new Set([...SHARED, ...["api", "inbox", "workers"].flatMap(settingsOf)]);
    const forTheCommandLine = ["API_URL", "API_KEY"];
    const missing = SETTING_NAMES.filter((name) => !handed.has(name) && !forTheCommandLine.includes(name));
    expect(missing).toEqual([]);
    const isSetting = (name: string) =>
      SETTING_NAMES.includes(name) || SETTING_NAMES.includes(name.replace(/_FILE$/, ""));
    const unknown = [...handed].filter((name) => !isSetting(name));
    expect(unknown).toEqual(["NODE_OPTIONS"]);
  });

  test("takes every secret from a file, too", () => {
    const secrets = SETTING_NAMES.filter((name) => /PASSWORD|TOKEN|PIN$|_KEYS$|SECRET|MASTER_KEY|REDIS_URL/.test(name));
    expect(secrets.length).toBeGreaterThan(6);
    const handed = [...SHARED, ...["api", "inbox", "workers"].flatMap(settingsOf)];
    for (const name of secrets) expect(handed).toContain(`${name}_FILE`);
  });

  test("tells the provider's account to the workers alone", () => {
    const isAccount = (name: string) => /^ONESHOT_(RAO|BILLING)/.test(name);
    expect(settingsOf("workers").filter(isAccount).length).toBeGreaterThan(8);
    for (const names of [SHARED, settingsOf("api"), settingsOf("inbox"), settingsOf("simulator")]) {
      expect(names.filter(isAccount)).toEqual([]);
    }
    for (const [name, lines] of SERVICES) {
      expect(
        lines.some((line) => line.includes("/run/secrets/provider")),
        name,
      ).toBe(name === "workers");
    }
  });

  test("uses the Redis that is tested, and lets it neither forget nor evict", () => {
    expect(service("redis").join("\n")).toContain(`image: ${REDIS_IMAGE}\n`);
    const words = below(service("redis"), "command").map((line) => line.replaceAll(/[-"\s]+(?=\S)|"$/g, ""));
    for (const [name, value] of [
      ["appendonly", "yes"],
      ["appendfsync", "always"],
      ["maxmemorypolicy", "noeviction"],
    ] as const) {
      expect(words[words.indexOf(name) + 1], name).toBe(value);
    }
  });

  test("asks only for what docs/docker.md explains", () => {
    const told = read("docs/docker.md");
    const settings = new Set(SETTING_NAMES);
    const untold = [...INTERPOLATED].filter((name) => !settings.has(name) && !told.includes(name));
    expect(untold).toEqual(["SIMULATOR_HUMANS"]);
  });

  test("checks health with a file that is in the image", () => {
    const checks = [...COMPOSE.matchAll(/node, \/app\/(docker\/[a-z.]+), ([a-z]+)\]/g)];
    expect(checks.map(([, , part]) => part).sort()).toEqual(["api", "inbox", "workers"]);
    for (const [, path = ""] of checks) {
      expect(existsSync(join(ROOT, path))).toBe(true);
      expect(read("Dockerfile")).toContain(`COPY ${path} `);
      expect(read(".dockerignore")).toContain(`!${path}\n`);
    }
  });
});

test("docker/simulator.env sets what is a setting, or what docker-compose.yml asks for", () => {
  const names = [...read("docker/simulator.env").matchAll(/^([A-Z_]+)=/gm)].map(([, name = ""]) => name);
  expect(names.length).toBeGreaterThan(8);
  for (const name of names) {
    expect(SETTING_NAMES.includes(name) || INTERPOLATED.has(name) || name === "COMPOSE_PROFILES", name).toBe(true);
  }
});

const compose = (...args: string[]) =>
  spawnSync("docker", ["compose", ...args], { cwd: ROOT, encoding: "utf8", timeout: 4_000 });

test.skipIf(compose("version").status !== 0)(
  "Docker Compose, where it is there, reads the file as these tests do",
  () => {
    const { status, stdout, stderr } = compose("--env-file", "docker/simulator.env", "config", "--format", "json");
    expect(status, stderr).toBe(0);
    const { services } = JSON.parse(stdout) as {
      services: Record<string, { command?: string[]; environment?: Record<string, string | null> }>;
    };
    expect(Object.keys(services).sort()).toEqual([...SERVICES.keys()].sort());
    for (const name of ["api", "inbox", "workers"]) {
      expect(services[name]?.command, name).toEqual(commandOf(name));
      expect(new Set(Object.keys(services[name]?.environment ?? {})), name).toEqual(
        new Set([...SHARED, ...settingsOf(name)]),
      );
    }
  },
);
