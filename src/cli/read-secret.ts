import { CliError, EXIT, type Terminal } from "./terminal.ts";

const MOST_BYTES = 4_096;

/** Asks the person: at a terminal by a prompt, elsewhere for the next line of standard input. Nothing there is "". */
export type Ask = (prompt: string, options?: { isHidden?: boolean }) => Promise<string>;

/**
 * What a person types, without echo unless told otherwise, or the lines of standard input one after the other. A secret
 * in the arguments would be in the process list and in the shell's history.
 */
export function createAsk({ stdin, err }: Terminal): Ask {
  let lines: Promise<string[]> | undefined;
  return async (prompt, { isHidden = true } = {}) => {
    if (stdin.isTTY) return await type(stdin, prompt, err.stream, isHidden);
    lines ??= readLines(stdin);
    return (await lines).shift() ?? "";
  };
}

/** One secret, without blanks around it. Throws CliError when nothing is given. */
export async function readSecret(terminal: Terminal, prompt: string): Promise<string> {
  const secret = (await createAsk(terminal)(prompt)).trim();
  if (secret === "") throw new CliError("Nothing was given: type the code, or send it on standard input.");
  return secret;
}

async function readLines(stdin: NodeJS.ReadStream): Promise<string[]> {
  let text = "";
  for await (const chunk of stdin as AsyncIterable<Buffer | string>) {
    text += chunk.toString();
    if (text.length > MOST_BYTES) break;
  }
  return text.split(/\r?\n/);
}

function type(
  stdin: NodeJS.ReadStream,
  prompt: string,
  stream: NodeJS.WritableStream,
  isHidden: boolean,
): Promise<string> {
  stream.write(prompt);
  stdin.setRawMode(true);
  stdin.setEncoding("utf8");
  stdin.resume();
  return new Promise((resolve, reject) => {
    let text = "";
    const end = (finish: () => void): void => {
      stdin.off("data", onData);
      stdin.setRawMode(false);
      stdin.pause();
      stream.write("\n");
      finish();
    };
    const onData = (chunk: string): void => {
      for (const key of chunk) {
        if (key === "\r" || key === "\n" || key === "\u0004") return end(() => resolve(text));
        if (key === "\u0003") return end(() => reject(new CliError("Interrupted.", EXIT.interrupted)));
        if (key === "\u007f" || key === "\b") {
          if (!isHidden && text !== "") stream.write("\b \b");
          text = text.slice(0, -1);
        } else if (key >= " ") {
          if (!isHidden) stream.write(key);
          text += key;
        }
      }
    };
    stdin.on("data", onData);
  });
}
