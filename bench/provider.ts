import { createReadStream, readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

/**
 * A provider that costs nothing: canned answers for every call of the workflow, in a process of its own, so that the
 * pipeline is measured and not the provider. It signs nothing: the signed file was made beforehand by the simulator,
 * from the one original that the benchmark uses. Signers identify themselves at once; those of requests that are made
 * after `PUT /signers/away` never do, and neither do those of requests that it does not know.
 *
 * Arguments: files with the signed PDF, a contract and the original, latency in milliseconds, and "with-arrivals" when it
 * is to say at `GET /arrivals` when the creation for each e-mail address came in.
 */
const [signedPath = "", contractPath = "", originalPath = "", latency = "0", arrivals = ""] = process.argv.slice(2);
const latencyMs = Number(latency);
const signedBytes = statSync(signedPath).size;
const small = signedBytes < 10_000_000 ? readFileSync(signedPath) : undefined;
const contract = readFileSync(contractPath);
const originalBytes = statSync(originalPath).size;
const smallOriginal = originalBytes < 10_000_000 ? readFileSync(originalPath) : undefined;
const states = new Map<number, string>();
/** When a creation came in, in milliseconds since the epoch, by the signer's e-mail address. */
const arrived: Record<string, number> = {};
let nextPk = 1_000_000;
let deleted = 0;
let identified = "VIDEOREVIEW";

function json(response: ServerResponse, body: object): void {
  const text = JSON.stringify(body);
  response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(text) }).end(text);
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const [, what = "", id = "", more] = (request.url ?? "").replace("/oneshot/api/v1", "").split("/");
  const pk = Number(id);
  switch (`${request.method} ${what}`) {
    case "POST videoid":
      if (more === "approve") {
        states.set(pk + 1_000_000, "ENROLLREADY");
        return json(response, { status: "success", message: "Request approved successfully" });
      }
      nextPk += 1;
      states.set(nextPk, identified);
      return json(response, {
        status: "success",
        messsage: "VideoID created",
        detail: { videoid_pk: nextPk - 1_000_000, request_pk: nextPk, videoid_link: "http://127.0.0.1/link" },
      });
    case "GET request":
      return json(response, { status: "success", details: { pk, status: states.get(pk) ?? "VIDEOPENDING" } });
    case "POST document":
      return json(response, { status: "success", detail: { name: "file", uid: `uid-${id}` } });
    case "GET contract":
      return void response.writeHead(200, { "content-length": contract.length }).end(contract);
    case "POST otp":
      return json(response, { status: "success", message: "OTP generated" });
    case "POST sign":
      states.set(pk, "ISSUED");
      return json(response, { status: "success", message: "Documents correctly signed" });
    case "GET document": {
      if (more === "original" || request.url?.endsWith("document_type=original")) {
        response.writeHead(200, { "content-length": originalBytes });
        if (smallOriginal) return void response.end(smallOriginal);
        return void createReadStream(originalPath, { highWaterMark: 1 << 20 }).pipe(response);
      }
      response.writeHead(200, { "content-length": signedBytes });
      if (small) response.end(small);
      else createReadStream(signedPath, { highWaterMark: 1 << 20 }).pipe(response);
      return;
    }
    case "DELETE document":
      deleted += 1;
      if (more === undefined) states.delete(pk);
      return json(response, { status: "success", message: "Document successfully deleted" });
    case "GET arrivals":
      return json(response, arrived);
    case "PUT signers":
      identified = id === "away" ? "VIDEOPENDING" : "VIDEOREVIEW";
      return json(response, {});
    default:
      response.writeHead(404).end("{}");
  }
}

const server = createServer((request, response) => {
  const atMs = performance.timeOrigin + performance.now();
  if (arrivals === "with-arrivals" && request.method === "POST" && request.url?.endsWith("/videoid")) {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      const email = /"email":\s*"([^"]+)"/.exec(body)?.[1];
      if (email !== undefined) arrived[email] ??= atMs;
    });
  }
  request.on("end", () => {
    if (latencyMs > 0) setTimeout(answer, latencyMs, request, response);
    else answer(request, response);
  });
  request.resume();
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.stdout.write(`${JSON.stringify({ port: typeof address === "object" ? address?.port : 0 })}\n`);
});
process.stdin.resume().on("end", () => process.exit(deleted >= 0 ? 0 : 1));
