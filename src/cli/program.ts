import { readFileSync } from "node:fs";
import { Command as Program, CommanderError } from "commander";
import { ConfigError, readSettings } from "../config.ts";
import { COMMANDS, type Command, type Context } from "./commands.ts";
import { watchInterrupts } from "./interrupts.ts";
import { CliError, createTerminal, EXIT, type Terminal } from "./terminal.ts";

/** Runs one command line. The exit code; everything that went wrong was said in one sentence. */
export async function runCli(argv: string[], given: Partial<Context> = {}): Promise<number> {
  const terminal = given.terminal ?? createTerminal();
  const context: Context = {
    terminal,
    settings: given.settings ?? (() => readSettings()),
    signal: given.signal ?? watchInterrupts(() => terminal.err.line("signpipe: Stopped at once.")),
  };
  let exitCode: number = EXIT.done;
  const program = createProgram(terminal);
  for (const command of COMMANDS) {
    addCommand(program, command, async (args, options) => {
      exitCode = await command.run(context, args, options);
    });
  }
  try {
    await program.parseAsync(argv, { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    return explain(error, terminal);
  }
}

function createProgram({ out, err }: Terminal): Program {
  const program = new Program("signpipe")
    .description("Takes PDFs to qualified electronic signatures, in bulk, over queues.")
    .version(readVersion())
    .exitOverride()
    .showHelpAfterError("(add --help for what there is)")
    .configureOutput({
      writeOut: (text) => out.line(text.trimEnd()),
      writeErr: (text) => err.line(text.trimEnd()),
      getOutHelpWidth: () => out.width ?? 100,
      getErrHelpWidth: () => err.width ?? 100,
      getOutHasColors: () => out.isTTY,
      getErrHasColors: () => err.isTTY,
    })
    .configureHelp({ styleTitle: (title) => out.paint("bold", title) });
  program.addHelpText(
    "after",
    "\nIds may be shortened, and your own references work as well. Settings: docs/configuration.md.",
  );
  return program;
}

type Run = (
  args: (string | string[] | undefined)[],
  options: Record<string, string | boolean | undefined>,
) => Promise<void>;

function addCommand(program: Program, { name, args = [], summary, options = [], after }: Command, run: Run): void {
  const command = program.command([name, ...args].join(" ")).description(summary);
  for (const [flags, description, standard] of options) command.option(flags, description, standard);
  if (after) command.addHelpText("after", `\n${after}`);
  command.action(async (...given: unknown[]) => {
    // Commander hands over the arguments, then the options, then itself.
    const values = given.slice(0, -2) as Parameters<Run>[0];
    await run(values, given.at(-2) as Parameters<Run>[1]);
  });
}

/** Expected errors are sentences already. Others are bugs: their stack helps whoever has to find them. */
function explain(error: unknown, { err }: Terminal): number {
  if (error instanceof CliError) {
    err.line(`signpipe: ${error.message}`);
    return error.exitCode;
  }
  if (error instanceof ConfigError) {
    for (const line of error.message.split("\n")) err.line(`signpipe: ${line}`);
    return EXIT.error;
  }
  err.line(`signpipe: ${error instanceof Error ? error.message : String(error)}`);
  return EXIT.error;
}

function readVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
