import type { Redis } from "ioredis";
import { setTimeout as pause } from "node:timers/promises";

/** Commands of ours that wait for their turn; BullMQ's own are left alone. */
const COMMANDS = new Set(
  "get set del mget hget hmget hset hdel hkeys hgetall sadd zadd zrem zrangebyscore pttl signpipeBegin signpipeTransition signpipeNudge signpipePark signpipeTakeOver signpipeForgetCode".split(
    " ",
  ),
);

/**
 * Several parties that talk to one Redis, each command when its turn comes: `pick` says whose, out of so many. What
 * Redis itself does is one step, so the order of commands is all that can differ between two runs of the real thing.
 */
export function createTurns() {
  let pick: ((of: number) => number) | undefined;
  const waiting: (() => void)[] = [];

  function turn(): Promise<void> {
    return pick ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve();
  }

  return {
    wrap: (redis: Redis): Redis =>
      new Proxy(redis, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name, target);
          if (typeof value !== "function") return value;
          if (!COMMANDS.has(String(name))) return value.bind(target) as unknown;
          return async (...args: unknown[]) => {
            await turn();
            return await (value.apply(target, args) as Promise<unknown>);
          };
        },
      }),

    /** Lets the parties go on, one command at a time, until all of `parties` are through; then whoever is left. */
    async take(parties: (() => Promise<void>)[], order: (of: number) => number): Promise<void> {
      pick = order;
      let open = parties.length;
      const all = parties.map((party) => party().finally(() => (open -= 1)));
      for (let idle = 0; open > 0 && idle < 200;) {
        // Whoever got an answer has now the time to come back with the next command.
        await pause(2);
        idle = waiting.length === 0 ? idle + 1 : 0;
        waiting.splice(waiting.length === 0 ? 0 : order(waiting.length), 1)[0]?.();
      }
      pick = undefined;
      for (const go of waiting.splice(0)) go();
      await Promise.all(all);
    },
  };
}
