/**
 * One plain line for the person at the terminal, on standard error: standard output belongs to the command that was
 * asked for (`npm start` prints one line of JSON there).
 */
export function say(line) {
  process.stderr.write(`signpipe: ${line}\n`);
}

/** Ends this process with one sentence and exit code 1. */
export function giveUp(sentence) {
  say(sentence);
  process.exit(1);
}
