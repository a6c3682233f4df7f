import { type Environment, findOnPath, run } from "./command.ts";
import { untilItAnswers } from "./ping.ts";
import { passwordOf, type ServerOptions, type StartedServer, watchUntilWeEnd, writeConf } from "./server.ts";

/** The Redis image of containers: of this start, of the tests, and of docker-compose.yml. */
export const REDIS_IMAGE = "redis:7-alpine";

const PULL_MS = 180_000;

/** True when a Docker engine answers and has, or gets, the image. */
export async function dockerHasRedis(env: Environment, signal?: AbortSignal): Promise<boolean> {
  if (!findOnPath(["docker"], env)) return false;
  const engine = await run("docker", ["version", "--format", "{{.Server.Version}}"], { timeoutMs: 5_000, signal });
  if (engine.code !== 0) return false;
  const image = await run("docker", ["image", "inspect", REDIS_IMAGE], { timeoutMs: 10_000, signal });
  if (image.code === 0) return true;
  return (await run("docker", ["pull", "--quiet", REDIS_IMAGE], { timeoutMs: PULL_MS, signal })).code === 0;
}

/** Starts Redis in a container that is reachable from this machine alone and ends with this process. */
export async function startContainer({ dir, keep, port: wanted, signal }: ServerOptions): Promise<StartedServer> {
  const password = passwordOf(dir);
  // Inside the container it must listen to the bridge; outside, only the loopback port is published.
  writeConf(dir, { bind: "0.0.0.0", port: 6379, password, keep, dataDir: "/data", logfile: "" });
  const user = process.getuid && process.getgid ? ["--user", `${process.getuid()}:${process.getgid()}`] : [];
  const where = ["--publish", `127.0.0.1:${wanted ?? ""}:6379`, "--volume", `${dir}:/data`];
  const args = ["run", "--rm", "--detach", ...user, ...where, REDIS_IMAGE, "redis-server", "/data/redis.conf"];
  // Not given up half-way: it could start after that, and nobody would know its name.
  const started = await run("docker", args, { timeoutMs: 60_000 });
  const id = started.stdout.trim();
  if (started.code !== 0 || id === "") {
    throw new Error(`docker could not start ${REDIS_IMAGE}: ${started.stderr.trim().split("\n")[0] ?? ""}`);
  }
  const watchdog = watchUntilWeEnd(["docker", "stop", "--time", "30", id]);
  const stop = async (): Promise<void> => {
    await run("docker", ["stop", "--time", "30", id], { timeoutMs: 60_000 });
    watchdog.kill("SIGKILL");
  };
  const { stdout } = await run("docker", ["port", id, "6379/tcp"], { timeoutMs: 10_000 });
  const port = Number(/:(\d+)\s*$/m.exec(stdout)?.[1] ?? 0);
  const until = { withinMs: 60_000, signal: signal ?? new AbortController().signal };
  if (port > 0 && (await untilItAnswers(port, password, until))) {
    return { url: `redis://:${password}@127.0.0.1:${port}`, pid: undefined, stop };
  }
  const log = await run("docker", ["logs", "--tail", "2", id], { timeoutMs: 10_000 });
  await stop();
  throw new Error(`Redis in a container did not answer: ${`${log.stdout}${log.stderr}`.trim()}`);
}
