import { pino, type Logger } from "pino";
import { withoutPaths } from "./core/errors.ts";

/** Fields that are cut out wherever they appear: a second net, since nothing logs them. */
const NEVER = [
  "secret",
  "code_secret",
  "token",
  "password",
  "pin",
  "billing_password",
  "email",
  "mobile_phone_number",
  "signer",
  "facts",
  "authorization",
  "videoid_link",
  "headers",
];

/**
 * Of an error its kind, code, words and stack. Nothing else: a Redis error brings its command with all arguments (the
 * password, when it was AUTH), and others bring paths and addresses.
 */
function toLoggedError(thrown: unknown): object {
  if (!(thrown instanceof Error)) return { type: typeof thrown };
  const { name, message, stack, code } = thrown as NodeJS.ErrnoException;
  return {
    type: name,
    ...(code !== undefined && { code }),
    message: withoutPaths(message, thrown),
    ...(stack !== undefined && { stack: withoutPaths(stack, thrown) }),
  };
}

/** One JSON line per event, to standard error: standard output belongs to the commands. */
export function createLog(level: string, destination: NodeJS.WritableStream = process.stderr): Logger {
  return pino(
    {
      level,
      base: null,
      serializers: { err: toLoggedError },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: NEVER.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: "[cut]" },
    },
    destination as NodeJS.WritableStream & { write(line: string): boolean },
  );
}
