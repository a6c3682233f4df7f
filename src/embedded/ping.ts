import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";

/**
 * True when a Redis on this loopback port answers PING with PONG under this password, within a second.
 * Spoken by hand, because this folder uses no Redis client.
 * @source Redis serialization protocol, inline commands
 */
function answers(port: number, password: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    let heard = "";
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => end(false));
    socket.on("error", () => end(false));
    socket.on("close", () => end(false));
    socket.on("connect", () => socket.write(`AUTH ${password}\r\nPING\r\n`));
    socket.on("data", (chunk) => {
      heard += chunk.toString("latin1");
      // While it reads its file back it answers "-LOADING ..."; that is not ready yet.
      if (heard.includes("+PONG\r\n")) end(true);
      else if ((heard.match(/\r\n/g) ?? []).length >= 2) end(false);
    });
  });
}

/** Waits until Redis answers; false when it has not by `withinMs`, or when `signal` says that it never will. */
export async function untilItAnswers(
  port: number,
  password: string,
  { withinMs, signal }: { withinMs: number; signal: AbortSignal },
): Promise<boolean> {
  const until = Date.now() + withinMs;
  while (Date.now() < until && !signal.aborted) {
    if (await answers(port, password)) return true;
    await pause(25);
  }
  return false;
}
