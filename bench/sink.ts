import { open } from "node:fs/promises";
import { createServer } from "node:http";

/**
 * The least that a receiver of uploads can do: each body goes into a file as it comes, and is on disk when it is
 * answered, as the provider would answer. Argument: the file.
 */
const [path = ""] = process.argv.slice(2);

const server = createServer({ highWaterMark: 1 << 20 }, (request, response) => {
  void (async () => {
    const file = await open(path, "w");
    for await (const chunk of request as AsyncIterable<Buffer>) await file.write(chunk);
    await file.sync();
    await file.close();
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ status: "success", detail: { name: "file", uid: "uid-1" } }));
  })();
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.stdout.write(`${JSON.stringify({ port: typeof address === "object" ? address?.port : 0 })}\n`);
});
process.stdin.resume().on("end", () => process.exit(0));
