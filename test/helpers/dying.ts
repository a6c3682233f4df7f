import fs from "node:fs";
import promises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

/** Calls that change what is on the disk. */
const PROMISED = ["rename", "link", "unlink", "mkdir", "rm", "rmdir", "writeFile", "copyFile", "open"] as const;
const SYNC = ["renameSync", "mkdirSync", "rmSync", "rmdirSync", "writeFileSync"] as const;

type Calls = Record<string, (...args: unknown[]) => unknown>;

/** As if the process died right before the `n`th call that changes the disk: neither that one nor a later one comes about. */
export function dieBefore(n: number) {
  let calls = 0;
  const undo: (() => void)[] = [];
  const reach = () => {
    if (++calls >= n) throw new Error("the process is gone");
  };
  const patch = (owner: Calls, name: string, wrap: (original: Calls[string]) => Calls[string]) => {
    const original = owner[name] as Calls[string];
    owner[name] = wrap(original);
    undo.push(() => (owner[name] = original));
  };
  for (const name of PROMISED) {
    patch(promises as unknown as Calls, name, (original) => async (...args) => {
      reach();
      return await original(...args);
    });
  }
  for (const name of SYNC) {
    patch(fs as unknown as Calls, name, (original) => (...args) => {
      reach();
      return original(...args);
    });
  }
  syncBuiltinESMExports();
  return {
    calls: () => calls,
    isDead: () => calls >= n,
    undo() {
      for (const one of undo) one();
      syncBuiltinESMExports();
    },
  };
}
