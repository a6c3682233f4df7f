import { runCli } from "./cli/program.ts";

// A reader that has seen enough (signpipe list | head) is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

process.exit(await runCli(process.argv.slice(2)));
