import { signBySimulator } from "./parts.ts";

/** Has the simulator sign a file, in a process that ends with it: the simulator keeps documents in memory. */
const [dir = "", original = ""] = process.argv.slice(2);
await signBySimulator(dir, original);
process.exit(0);
