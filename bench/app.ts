import { readKeys } from "../src/keys.ts";
import { finish, startApp } from "./parts.ts";

/**
 * The pipeline in a process of its own, as it is deployed. Arguments: Redis, provider, DATA_DIR, and
 * "with-workers" for the workers too. Says where its API is,
 * how to be let in, and under which prefix its keys are.
 */
const [redisUrl = "", oneshotUrl = "", dataDir = "", workers = ""] = process.argv.slice(2);
const { app, prefix } = await startApp(redisUrl, oneshotUrl, { DATA_DIR: dataDir });
if (workers === "with-workers") app.startWorkers();
app.startKeeping();
const port = Number(new URL(await app.startApi()).port);
process.stdout.write(`${JSON.stringify({ port, secret: readKeys(app.settings).apiKeys[0]?.secret, prefix })}\n`);
process.stdin.resume().on("end", () => void finish().then(() => process.exit(0)));
