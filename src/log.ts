import { pino, type Logger } from "pino";

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
];

/** One JSON line per event, to standard error: standard output belongs to the commands. */
export function createLog(level: string, destination: NodeJS.WritableStream = process.stderr): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: NEVER.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: "[cut]" },
    },
    destination as NodeJS.WritableStream & { write(line: string): boolean },
  );
}
