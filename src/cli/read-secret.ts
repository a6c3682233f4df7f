import { CliError, EXIT, type Terminal } from "./terminal.ts";

const MOST_BYTES = 4_096;

/**
 * A secret from the person: typed without echo at a terminal, else the first line of standard input. A secret in the
 * arguments would be in the process list and in the shell's history.
 */
export async function readSecret({ stdin, err }: Terminal, prompt: string): Promise<string> {
  const secret = stdin.isTTY ? await typeSecret(stdin, prompt, err.stream) : await firstLine(stdin);
  if (secret === "") throw new CliError("Nothing was given: type the code, or send it on standard input.");
  return secret;
}

async function firstLine(stdin: NodeJS.ReadStream): Promise<string> {
  let text = "";
  for await (const chunk of stdin as AsyncIterable<Buffer | string>) {
    text += chunk.toString();
    if (text.includes("\n") || text.length > MOST_BYTES) break;
  }
  return (text.split(/\r?\n/)[0] ?? "").trim();
}

function typeSecret(stdin: NodeJS.ReadStream, prompt: string, stream: NodeJS.WritableStream): Promise<string> {
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
        if (key === "\r" || key === "\n" || key === "\u0004") return end(() => resolve(text.trim()));
        if (key === "\u0003") return end(() => reject(new CliError("Interrupted.", EXIT.interrupted)));
        if (key === "\u007f" || key === "\b") text = text.slice(0, -1);
        else if (key >= " ") text += key;
      }
    };
    stdin.on("data", onData);
  });
}
