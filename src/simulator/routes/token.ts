import { randomUUID } from "node:crypto";
import { checkConfiguration, checkEnvironment } from "../account.ts";
import { objectBody, pathText, textOf } from "../bodies.ts";
import type { Context } from "../context.ts";
import { gave, Refusal, said } from "../envelopes.ts";
import type { Handlers } from "../operations.ts";
import type { Token } from "../store.ts";

/** Secrets are shown only as whether they are stored. */
const shownToken = (token: Token): Record<string, unknown> => ({
  username: token.username,
  password: token.password !== undefined,
  pin: token.pin !== undefined,
  ...(token.note !== undefined && { NOTE: token.note }),
});

function checkKnown({ credentials: { rao: known }, settings }: Context, token: Token): void {
  if (!known && settings.raoCredentials === "checked") return;
  const right =
    known !== undefined &&
    settings.raoCredentials === "checked" &&
    token.username === known.username &&
    (token.password ?? known.password) === known.password &&
    (token.pin ?? known.pin) === known.pin;
  if (!right) throw new Refusal(404, "Error getting RAO's id. Make sure the credentials are correct.");
}

/** The first generation's uids have no dashes. @source docs/provider.md §Tokens */
export const tokenHandlers = (context: Context) =>
  ({
    createToken(call, _reply, generation) {
      const body = objectBody(call.body);
      const [username, password, pin, env] = ["username", "password", "pin", "env"].map((key) => textOf(body, key));
      if (username === undefined) throw new Refusal(400, "Missing required parameters: username, password, pin");
      checkEnvironment(context, env);
      const token: Token = { username, ...(password ? { password } : {}), ...(pin ? { pin } : {}) };
      checkKnown(context, token);
      const same = (other: Token): boolean =>
        other.username === username && other.password === password && other.pin === pin;
      if ([...context.store.tokens.values()].some(same)) {
        throw new Refusal(400, "A token with these credentials already exist!");
      }
      const uuid = randomUUID();
      const uid = generation === "first" ? uuid.replaceAll("-", "") : uuid;
      context.store.tokens.set(uid, token);
      context.kept.save("token", uid, token);
      context.ledger.add("token");
      return gave({ token_uid: uid }, { message: "Token created", first: uid });
    },

    getToken(call) {
      const uid = pathText(call.params, "token_uid");
      const token = context.store.tokens.get(uid);
      if (!token) throw new Refusal(404, `Token ${uid} not found`);
      return gave(shownToken(token));
    },

    deleteToken(call) {
      const uid = pathText(call.params, "token_uid");
      const token = context.store.tokens.get(uid);
      if (!token) throw new Refusal(404, "Token not found");
      if (token.note !== undefined) throw new Refusal(403, "You do not have permission to perform this action");
      context.store.tokens.delete(uid);
      context.kept.save("token", uid, undefined);
      context.ledger.add("delete-token");
      return said("Token deleted successfully");
    },

    listTokens() {
      checkConfiguration(context);
      return gave(Object.fromEntries([...context.store.tokens].map(([uid, token]) => [uid, shownToken(token)])));
    },
  }) satisfies Handlers;
