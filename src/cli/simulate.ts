import type { SimulatorOptions, SwitchChange } from "../simulator/index.ts";
import { SCENARIO_NAMES } from "../simulator/scenarios.ts";
import { changeFrom } from "../simulator/switches.ts";
import { untilSet } from "./interrupts.ts";
import { wholeNumber } from "./requests.ts";
import { CliError, EXIT, type Terminal } from "./terminal.ts";

/** Which people the simulator plays by itself. */
export const HUMANS = ["none", "signer", "rao", "all"] as const;

export interface SimulateOptions {
  port: string;
  host: string;
  dataDir?: string;
  origin?: string;
  webhookUrl?: string;
  scenario?: string;
  set?: string;
  humans?: string;
  humanDelay?: string;
  latency?: string;
  otpGuard?: string;
  retrieval?: string;
  errorStyle?: string;
  json?: boolean;
  withParent?: boolean;
}

/**
 * The simulator's options from the command line's; what is not given is left to scenarios. Throws CliError that names
 * the option.
 */
export function toSimulatorOptions(options: SimulateOptions): SimulatorOptions {
  const { origin, webhookUrl, latency, otpGuard, retrieval, errorStyle } = options;
  if (webhookUrl !== undefined && !URL.canParse(webhookUrl)) {
    throw new CliError("--webhook-url must be an address like http://127.0.0.1:8080/webhooks/oneshot/…");
  }
  if (origin !== undefined && !URL.canParse(origin)) {
    throw new CliError("--origin must be an address like http://127.0.0.1:8090");
  }
  const named: SimulatorOptions = {
    ...(latency !== undefined && { latencyMs: wholeNumber("--latency", latency) }),
    ...(otpGuard !== undefined && { otpGuardMs: wholeNumber("--otp-guard", otpGuard) }),
    ...(retrieval !== undefined && switchFrom("--retrieval", `retrieval=${retrieval}`)),
    ...(errorStyle !== undefined && switchFrom("--error-style", `errorStyle=${errorStyle}`)),
  };
  return {
    ...switchesFrom(options.set),
    ...named,
    ...humansFrom(options),
    port: wholeNumber("--port", options.port, { most: 65_535 }),
    host: options.host,
    ...(options.dataDir !== undefined && { dataDir: options.dataDir }),
    ...(origin !== undefined && { publicOrigin: origin.replace(/\/+$/, "") }),
    ...(webhookUrl !== undefined && { webhookUrl }),
    ...(options.scenario !== undefined && {
      scenarios: options.scenario.split(",").map((name) => oneOf("--scenario", name.trim(), SCENARIO_NAMES)),
    }),
  };
}

/** Whoever acts by themselves, and for how long they think about it. */
function humansFrom({ humans, humanDelay, set }: SimulateOptions): Pick<SimulatorOptions, "humans"> {
  const given = switchesFrom(set).humans;
  const who = humans === undefined ? undefined : oneOf("--humans", humans, HUMANS);
  const delayMs = humanDelay === undefined ? undefined : wholeNumber("--human-delay", humanDelay);
  if (who === undefined && delayMs === undefined) return given ? { humans: given } : {};
  const acts = (...names: (typeof HUMANS)[number][]) => (names.some((name) => name === who) ? "auto" : "off");
  return {
    humans: {
      ...(who !== undefined && {
        signer: acts("signer", "all"),
        operator: acts("rao", "all"),
        rao: acts("rao", "all"),
      }),
      ...(delayMs !== undefined && { signerDelayMs: delayMs, operatorDelayMs: delayMs, raoDelayMs: delayMs }),
      ...given,
    },
  };
}

/** The switches of `--set a=b,c=d`, one over the other. */
function switchesFrom(text: string | undefined): SwitchChange {
  const all: SwitchChange = {};
  for (const pair of text?.split(",") ?? []) {
    const { humans, webhooks, ...plain } = switchFrom("--set", pair.trim());
    Object.assign(all, plain);
    if (humans) all.humans = { ...all.humans, ...humans };
    if (webhooks) all.webhooks = { ...all.webhooks, ...webhooks };
  }
  return all;
}

function switchFrom(option: string, pair: string): SwitchChange {
  try {
    return changeFrom(pair);
  } catch (error) {
    throw new CliError(`${option}: ${(error as Error).message.replaceAll("`", "")}`);
  }
}

function oneOf<const T extends string>(name: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value);
  if (found === undefined) throw new CliError(`${name} must be one of ${allowed.join(", ")}, not "${value}".`);
  return found;
}

/** `signpipe simulate`: the stand-in provider, until asked to stop. With --json one line of JSON when it listens. */
export async function simulate(
  options: SimulateOptions,
  { out, err, stdin }: Terminal,
  signal: AbortSignal,
): Promise<number> {
  const given = toSimulatorOptions(options);
  if (options.withParent) leaveInterruptsToParent();
  const { startSimulator } = await import("../simulator/index.ts");
  const simulator = await startSimulator(given).catch((error: unknown) => {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "EADDRINUSE" && code !== "EACCES" && code !== "EADDRNOTAVAIL") throw error;
    throw new CliError(
      `The simulator cannot listen on ${options.host}:${options.port} (${code}): give another --port, or 0 for any.`,
    );
  });
  const { url, origin, port, dataDir } = simulator;
  if (options.json) {
    const more = { first_url: simulator.firstUrl, pages: `${origin}/_sim/`, control: `${origin}/control` };
    out.line(JSON.stringify({ ready: true, url, origin, port, data_dir: dataDir, ...more }));
  } else {
    err.line(`The simulator stands in for the provider. NOTHING IS LEGALLY SIGNED.`);
    err.line();
    const lines: [string, string][] = [
      ["ONESHOT_URL", url],
      ["Pages", `${origin}/_sim/`],
      ["Control", `${origin}/control/`],
      ["Files and CA", dataDir],
    ];
    for (const [name, value] of lines) err.line(`  ${err.paint("dim", name.padEnd(12))}  ${value}`);
    err.line();
    err.line(`  Stop with Ctrl-C.`);
  }
  await Promise.race([untilSet(signal), ...(options.withParent ? [ended(stdin)] : [])]);
  await simulator.close();
  return EXIT.done;
}

/** Ctrl-C reaches the whole foreground group: the parent still needs us while what runs there finishes. */
function leaveInterruptsToParent(): void {
  for (const name of ["SIGINT", "SIGHUP"] as const) {
    process.removeAllListeners(name);
    process.on(name, () => {});
  }
}

/** Resolves when standard input ends: a parent that dies, however it dies, closes it. */
function ended(stdin: NodeJS.ReadStream): Promise<void> {
  return new Promise((resolve) => {
    for (const event of ["end", "close", "error"] as const) stdin.once(event, () => resolve());
    stdin.resume();
  });
}
