import { readKeys } from "../src/keys.ts";
import { finish, startApp, tried } from "./parts.ts";

/**
 * The pipeline in a process of its own, as it is deployed. Arguments: Redis, provider, DATA_DIR, "with-workers" for the
 * workers too, "with-workers,with-inbox" for them and the inbox, and the prefix of a pipeline that it is to belong to. Says where its API is, how to be let in, and under
 * which prefix its keys are. Settings of the environment that may be tried reach it.
 */
const [redisUrl = "", oneshotUrl = "", dataDir = "", more = "", given] = process.argv.slice(2);
const { app, prefix } = await startApp(redisUrl, oneshotUrl, {
  DATA_DIR: dataDir,
  ...tried(),
  ...(given && { REDIS_PREFIX: given }),
});
const parts = more.split(",");
if (parts.includes("with-workers")) app.startWorkers();
app.startKeeping();
if (parts.includes("with-inbox")) await app.startInbox();
const port = Number(new URL(await app.startApi()).port);
process.stdout.write(`${JSON.stringify({ port, secret: readKeys(app.settings).apiKeys[0]?.secret, prefix })}\n`);
process.stdin.resume().on("end", () => void finish().then(() => process.exit(0)));
