import { once } from "node:events";
import { createConnection, createServer, type AddressInfo, type Socket } from "node:net";

/** What the way to the other side is like. */
export type Weather =
  | { kind: "pass" }
  /** Nobody listens; what is open breaks. */
  | { kind: "refuse" }
  /** Connections are taken and reset. */
  | { kind: "reset" }
  /** Nothing comes through, and nobody is told: connections stay open, and what is sent meanwhile is lost. */
  | { kind: "blackhole" }
  | { kind: "latency"; ms: number }
  /** Bytes come in pieces of this size, a millisecond apart. */
  | { kind: "slice"; bytes: number };

export interface Proxy {
  port: number;
  set(weather: Weather): Promise<void>;
  close(): Promise<void>;
}

/** A TCP proxy before one address, whose faults hit whoever goes through it and nobody else. */
export async function startProxy(target: { host: string; port: number }): Promise<Proxy> {
  let weather: Weather = { kind: "pass" };
  const pairs = new Set<{ client: Socket; server: Socket; isLost: boolean }>();
  const listener = createServer({ noDelay: true }, (client) => {
    if (weather.kind === "reset" || weather.kind === "refuse") return void client.resetAndDestroy();
    const server = createConnection({ ...target, noDelay: true });
    const pair = { client, server, isLost: weather.kind === "blackhole" };
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.on("error", end).on("close", end);
    carry(client, server, pair);
    carry(server, client, pair);
  });

  function carry(from: Socket, to: Socket, pair: { isLost: boolean }): void {
    let last: Promise<void> = Promise.resolve();
    from.on("data", (chunk: Buffer) => {
      // A stream with a hole in it must never go on: it would be another stream.
      if (weather.kind === "blackhole") pair.isLost = true;
      if (pair.isLost) return;
      const now = weather;
      if (now.kind !== "latency" && now.kind !== "slice") {
        last = last.then(() => void (pair.isLost || to.write(chunk)));
        return;
      }
      const pieces = now.kind === "slice" ? slices(chunk, now.bytes) : [chunk];
      for (const piece of pieces) {
        const waitMs = now.kind === "latency" ? now.ms : 1;
        const due = new Promise((resolve) => setTimeout(resolve, waitMs));
        last = last.then(async () => {
          await due;
          if (!pair.isLost && !to.destroyed) to.write(piece);
        });
      }
    });
    from.on("end", () => {
      last = last.then(() => void (pair.isLost || to.end()));
    });
  }

  async function listen(port: number): Promise<number> {
    listener.listen(port, "127.0.0.1");
    await once(listener, "listening");
    return (listener.address() as AddressInfo).port;
  }

  async function breakAll(): Promise<void> {
    for (const { client, server } of pairs) {
      client.resetAndDestroy();
      server.destroy();
    }
    pairs.clear();
  }

  const port = await listen(0);
  return {
    port,
    async set(next) {
      const before = weather;
      weather = next;
      if (next.kind === "refuse" && listener.listening) {
        const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
        await breakAll();
        await closed;
      }
      if (next.kind === "reset") await breakAll();
      if (next.kind === "blackhole") for (const pair of pairs) pair.isLost = true;
      if (before.kind === "refuse" && next.kind !== "refuse") await listen(port);
      // Half-open connections end at last, as they do when a partition is over and the other side has forgotten them.
      if (before.kind === "blackhole" && next.kind !== "blackhole") {
        for (const { client, server, isLost } of pairs) {
          if (!isLost) continue;
          client.resetAndDestroy();
          server.destroy();
        }
      }
    },
    async close() {
      await breakAll();
      if (listener.listening) await new Promise<void>((resolve) => listener.close(() => resolve()));
    },
  };
}

function slices(chunk: Buffer, bytes: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < chunk.length; at += bytes) pieces.push(chunk.subarray(at, at + bytes));
  return pieces;
}
