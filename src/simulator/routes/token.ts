import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { objectBody, pathText, textOf } from "../bodies.ts";
import type { Context } from "../context.ts";
import { Refusal, success, successWith } from "../envelopes.ts";
import type { Token } from "../store.ts";

/** Secrets are shown only as whether they are stored. */
const shownToken = (token: Token): Record<string, unknown> => ({
  username: token.username,
  password: token.password !== undefined,
  pin: token.pin !== undefined,
});

function checkKnown(context: Context, token: Token): void {
  const known = context.credentials.rao;
  if (!known) return;
  const right =
    token.username === known.username &&
    (token.password ?? known.password) === known.password &&
    (token.pin ?? known.pin) === known.pin;
  if (!right) throw new Refusal(404, "Error getting RAO's id. Make sure the credentials are correct.");
}

/** @source docs/provider.md §Tokens */
export function tokenRoutes(app: FastifyInstance, context: Context): void {
  app.post("/token", { config: { operation: "createToken" } }, (call, reply) => {
    const body = objectBody(call.body);
    const [username, password, pin, env] = ["username", "password", "pin", "env"].map((key) => textOf(body, key));
    if (username === undefined) throw new Refusal(400, "Missing required parameters: username, password, pin");
    if (env !== undefined && env !== "sandbox" && env !== "prod")
      throw new Refusal(400, `Environment ${env} does not exist`);
    const token: Token = { username, ...(password ? { password } : {}), ...(pin ? { pin } : {}) };
    checkKnown(context, token);
    const same = (other: Token): boolean =>
      other.username === username && other.password === password && other.pin === pin;
    if ([...context.store.tokens.values()].some(same)) {
      throw new Refusal(400, "A token with these credentials already exist!");
    }
    const uid = randomUUID();
    context.store.tokens.set(uid, token);
    context.ledger.add("token");
    return reply.send(successWith({ token_uid: uid }, "Token created"));
  });

  app.get("/token/:token_uid", { config: { operation: "getToken" } }, (call, reply) => {
    const uid = pathText(call.params, "token_uid");
    const token = context.store.tokens.get(uid);
    if (!token) throw new Refusal(404, `Token ${uid} not found`);
    return reply.send(successWith(shownToken(token)));
  });

  app.delete("/token/:token_uid", { config: { operation: "deleteToken" } }, (call, reply) => {
    if (!context.store.tokens.delete(pathText(call.params, "token_uid"))) throw new Refusal(404, "Token not found");
    context.ledger.add("delete-token");
    return reply.send(success("Token deleted successfully"));
  });

  app.get("/tokens", { config: { operation: "listTokens" } }, (_call, reply) => {
    const all = [...context.store.tokens].map(([uid, token]) => [uid, shownToken(token)] as const);
    return reply.send(successWith(Object.fromEntries(all)));
  });
}
