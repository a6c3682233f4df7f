import type { SimulatorOptions } from "../simulator/index.ts";
import { untilSet } from "./interrupts.ts";
import { wholeNumber } from "./requests.ts";
import { CliError, EXIT, type Terminal } from "./terminal.ts";

/** Which people the simulator plays by itself. */
export const HUMANS = ["none", "signer", "rao", "all"] as const;
const ERROR_STYLES = ["status", "fastapi", "old"] as const;
const RETRIEVALS = ["both", "seed", "reference"] as const;

export interface SimulateOptions {
  port: string;
  host: string;
  dataDir?: string;
  origin?: string;
  webhookUrl?: string;
  humans: string;
  humanDelay: string;
  latency: string;
  otpGuard: string;
  retrieval: string;
  errorStyle: string;
  json?: boolean;
  withParent?: boolean;
}

/** The simulator's options from the command line's. Throws CliError that names the option. */
export function toSimulatorOptions(options: SimulateOptions): SimulatorOptions {
  const humans = oneOf("--humans", options.humans, HUMANS);
  const delayMs = wholeNumber("--human-delay", options.humanDelay);
  if (options.webhookUrl !== undefined && !URL.canParse(options.webhookUrl)) {
    throw new CliError("--webhook-url must be an address like http://127.0.0.1:8080/webhooks/oneshot/…");
  }
  if (options.origin !== undefined && !URL.canParse(options.origin)) {
    throw new CliError("--origin must be an address like http://127.0.0.1:8090");
  }
  return {
    port: wholeNumber("--port", options.port, { most: 65_535 }),
    host: options.host,
    ...(options.dataDir !== undefined && { dataDir: options.dataDir }),
    ...(options.origin !== undefined && { publicOrigin: options.origin.replace(/\/+$/, "") }),
    ...(options.webhookUrl !== undefined && { webhookUrl: options.webhookUrl }),
    humans: {
      signer: humans === "signer" || humans === "all" ? "auto" : "off",
      rao: humans === "rao" || humans === "all" ? "auto" : "off",
      signerDelayMs: delayMs,
      raoDelayMs: delayMs,
    },
    latencyMs: wholeNumber("--latency", options.latency),
    otpGuardMs: wholeNumber("--otp-guard", options.otpGuard),
    retrieval: oneOf("--retrieval", options.retrieval, RETRIEVALS),
    errorStyle: oneOf("--error-style", options.errorStyle, ERROR_STYLES),
  };
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
    out.line(JSON.stringify({ ready: true, url, origin, port, data_dir: dataDir, pages: `${origin}/_sim/` }));
  } else {
    err.line(`The simulator stands in for the provider. NOTHING IS LEGALLY SIGNED.`);
    err.line();
    const lines: [string, string][] = [
      ["ONESHOT_URL", url],
      ["Pages", `${origin}/_sim/`],
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
