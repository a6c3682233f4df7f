import { expect, test } from "vitest";
import { COMMANDS, toParts, toStages } from "../../src/cli/commands.ts";
import { toSimulatorOptions } from "../../src/cli/simulate.ts";
import { STAGE_NAMES } from "../../src/workers/index.ts";
import { runCommand } from "../helpers/cli-house.ts";

test("the help names every command, and ends with 0", async () => {
  const { exitCode, out } = await runCommand(["--help"]);
  expect(exitCode).toBe(0);
  for (const { name } of COMMANDS) expect(out).toMatch(new RegExp(`^ {2}${name}\\b`, "m"));
});

test("every command has a help of its own", async () => {
  for (const { name, summary } of COMMANDS) {
    const { exitCode, out } = await runCommand([name, "--help"]);
    expect(exitCode).toBe(0);
    expect(out.replaceAll(/\s+/g, " ")).toContain(summary);
  }
});

test("a mistake in the command line ends with 1 and says what is meant", async () => {
  expect(await runCommand(["wrok"])).toMatchObject({ exitCode: 1, err: expect.stringContaining("Did you mean work?") });
  expect(
    await runCommand(["list", "--limit", "0"], {
      env: { API_URL: "http://127.0.0.1:1", API_KEY: "a-key-of-this-test" },
    }),
  ).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining("--limit must be a whole number from 1"),
  });
  expect((await runCommand(["submit"])).exitCode).toBe(1);
});

test("a setting that cannot be used is named before anything is done", async () => {
  const { exitCode, err } = await runCommand(["list"], { env: { API_PORT: "no" } });
  expect(exitCode).toBe(1);
  expect(err).toContain("API_PORT");
});

test("stages are worked on in the pipeline's order, all when none is named, and unknown ones are refused", () => {
  expect(toStages([])).toEqual(STAGE_NAMES);
  expect(toStages(["sign", "upload"])).toEqual(["upload", "sign"]);
  expect(() => toStages(["upload", "stamp"])).toThrow(/no stage "stamp": there are create, evidences, identify/);
});

test("the parts of a start are chosen by name, and an unknown one is refused", async () => {
  expect(toParts("keeping, api")).toEqual(["api", "keeping"]);
  for (const only of ["api,mailbox", "api,"]) {
    const { exitCode, err } = await runCommand(["start", "--only", only]);
    expect(exitCode).toBe(1);
    expect(err).toMatch(
      /^signpipe: --only: there is no part "(mailbox)?": there are api, inbox, intake, workers, keeping\.\n$/,
    );
  }
});

test("the help of work lists the stages", async () => {
  expect((await runCommand(["work", "--help"])).out).toContain(STAGE_NAMES.join(", "));
});

const SIMULATE = {
  port: "0",
  host: "127.0.0.1",
  humans: "none",
  humanDelay: "10",
  latency: "0",
  otpGuard: "60000",
  retrieval: "both",
  errorStyle: "status",
};

test("the people that the simulator plays are chosen by one word", () => {
  const playedBy = (humans: string) => {
    const { signer, operator, rao } = toSimulatorOptions({ ...SIMULATE, humans }).humans ?? {};
    return [signer, operator, rao];
  };
  expect(["none", "signer", "rao", "all"].map(playedBy)).toEqual([
    ["off", "off", "off"],
    ["auto", "off", "off"],
    ["off", "auto", "auto"],
    ["auto", "auto", "auto"],
  ]);
});

test("scenarios and switches are given by name, and what is not given is left to them", () => {
  const where = { port: "0", host: "127.0.0.1" };
  expect(toSimulatorOptions({ ...where, scenario: "two-step, lost-webhooks" })).toEqual({
    port: 0,
    host: "127.0.0.1",
    scenarios: ["two-step", "lost-webhooks"],
  });
  const set = "errorStyle=fastapi,humans.signerOutcome=fail,webhooks.drop=2,webhooks.duplicate=true,otpAttempts=5";
  expect(toSimulatorOptions({ ...where, set, humans: "signer" })).toMatchObject({
    errorStyle: "fastapi",
    otpAttempts: 5,
    humans: { signer: "auto", rao: "off", signerOutcome: "fail" },
    webhooks: { drop: 2, duplicate: true },
  });
});

test("an option of the simulator that cannot be used is named", () => {
  for (const [change, word] of [
    [{ humans: "everybody" }, /--humans must be one of none, signer, rao, all/],
    [{ port: "70000" }, /--port must be a whole number from 0 to 65535/],
    [{ retrieval: "x" }, /--retrieval/],
    [{ scenario: "rain" }, /--scenario must be one of .*two-step/],
    [{ set: "errorStyle=loud" }, /--set: errorStyle must be one of status, fastapi/],
    [{ set: "weather=rain" }, /--set: There is no switch "weather"/],
    [{ webhookUrl: "nowhere" }, /--webhook-url/],
    [{ origin: "nowhere" }, /--origin/],
  ] as const) {
    expect(() => toSimulatorOptions({ ...SIMULATE, ...change })).toThrow(word);
  }
});
