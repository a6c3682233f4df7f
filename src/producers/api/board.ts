import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { FastifyAdapter } from "@bull-board/fastify";
import cookie from "@fastify/cookie";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { type ApiKey, findKey } from "./api-keys.ts";
import { sendProblem } from "./errors.ts";
import { html, type Html, PAGE_POLICY } from "./html.ts";
import { readAsset } from "./pages.ts";
import type { Server } from "./ports.ts";
import { ApiError } from "./problem.ts";
import { readSession, SESSION_MS, toSession } from "./session.ts";

const COOKIE = "signpipe_board";
/** The board sets style attributes from its scripts; everything else is as strict as our own pages. */
const BOARD_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; " +
  "connect-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'";

const READ_ONLY = new ApiError(
  "method-not-allowed",
  "The board is for looking; act through the API or the command line.",
);
const LOG_IN = new ApiError("unauthorized", "Log in at /queues/login first.");

interface Parts {
  queues: readonly unknown[];
  keys: readonly ApiKey[];
  now: () => number;
}

/**
 * Adds the queue board at `/queues`, read-only, behind a login with an API key. Jobs are shown with the request's id and
 * nothing else.
 */
export function addBoard(app: Server, { queues, keys, now }: Parts): void {
  const adapter = new FastifyAdapter();
  adapter.setBasePath("/queues");
  createBullBoard({
    queues: queues.map(toAdapter),
    serverAdapter: adapter as unknown as Parameters<typeof createBullBoard>[0]["serverAdapter"],
    options: {
      uiConfig: {
        boardTitle: "signpipe queues",
        boardLogo: { path: "/docs/icon.svg", width: 24, height: 24 },
        favIcon: { default: "/docs/icon.svg", alternative: "/docs/icon.svg" },
        miscLinks: [{ text: "Log out", url: "/queues/logout" }],
        hideDocsLink: true,
        hideRedisDetails: true,
        showWorkers: true,
      },
    },
  });
  const style = readAsset("login.css");

  void app.register(
    async (scope) => {
      await scope.register(cookie);
      scope.removeContentTypeParser("application/x-www-form-urlencoded");
      scope.addContentTypeParser(
        "application/x-www-form-urlencoded",
        { parseAs: "string", bodyLimit: 4096 },
        (_request, body, done) => {
          done(null, new URLSearchParams(String(body)));
        },
      );
      addLogin(scope, { keys, now, style });
      await scope.register(async (inside) => {
        inside.addHook("onRequest", async (request, reply) => {
          if (readSession(keys, request.cookies[COOKIE], now())) {
            // Read-only is the board's own promise as well; this one does not depend on it.
            if (request.method !== "GET" && request.method !== "HEAD") {
              return await sendProblem(request, reply, READ_ONLY);
            }
            void reply.header("content-security-policy", BOARD_POLICY);
            return undefined;
          }
          // The board has an error handler of its own, so these are answered here and not thrown.
          if (request.url.startsWith("/queues/api/")) return await sendProblem(request, reply, LOG_IN);
          return await reply.redirect("/queues/login", 303);
        });
        inside.addHook("onSend", async (_request, reply, payload) => {
          const type = String(reply.getHeader("content-type") ?? "");
          // Its page asks for fonts from elsewhere; the policy would refuse them, this asks for none.
          return typeof payload === "string" && type.startsWith("text/html")
            ? payload.replaceAll(/<link\b[^>]*href="https?:\/\/[^>]*>/g, "")
            : payload;
        });
        await inside.register(adapter.registerPlugin());
      });
    },
    { prefix: "/queues" },
  );
}

function addLogin(
  scope: FastifyInstance,
  { keys, now, style }: { keys: readonly ApiKey[]; now: () => number; style: string },
) {
  const page = { hide: true };

  scope.get("/login", { schema: page }, async (_request, reply) => await sendPage(reply, 200, loginForm()));

  scope.get("/login.css", { schema: page }, async (_request, reply) => {
    return await reply.header("cache-control", "public, max-age=3600").type("text/css; charset=utf-8").send(style);
  });

  scope.post("/login", { schema: page }, async (request, reply) => {
    refuseForeign(request);
    const secret = request.body instanceof URLSearchParams ? (request.body.get("key") ?? "") : "";
    const key = findKey(keys, secret.trim());
    if (!key) {
      request.log.warn({}, "board login refused");
      return await sendPage(reply, 401, loginForm("This is not one of the keys."));
    }
    request.log.info({ key: key.name }, "board login");
    const session = toSession(key, now() + SESSION_MS);
    void reply.setCookie(COOKIE, session, { ...COOKIE_SCOPE, maxAge: SESSION_MS / 1000 });
    return await reply.redirect("/queues", 303);
  });

  // The board can only link, and a link must not log anybody out: it leads to a button.
  scope.get("/logout", { schema: page }, async (_request, reply) => await sendPage(reply, 200, LOGOUT_FORM));

  scope.post("/logout", { schema: page }, async (request, reply) => {
    refuseForeign(request);
    return await reply.clearCookie(COOKIE, COOKIE_SCOPE).redirect("/queues/login", 303);
  });
}

const COOKIE_SCOPE = { path: "/queues", httpOnly: true, sameSite: "strict" } as const;

/** A form of another site must not log anybody in or out. @source https://www.w3.org/TR/fetch-metadata/ */
function refuseForeign({ headers }: FastifyRequest): void {
  const site = headers["sec-fetch-site"];
  const foreignSite = site !== undefined && site !== "same-origin" && site !== "none";
  const origin = headers.origin;
  const foreignOrigin = origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== headers.host);
  if (foreignSite || foreignOrigin) throw new ApiError("unauthorized", "The login form must be this server's own.");
}

function loginForm(wrong?: string): Html {
  return html`<p>Log in with one of the API keys.</p>
    <form method="post" action="/queues/login">
      <label for="key">API key</label>
      <input id="key" name="key" type="password" autocomplete="current-password" required autofocus />
      <button>Log in</button>
      ${wrong && html`<p class="wrong" role="alert">${wrong}</p>`}
    </form>`;
}

const LOGOUT_FORM = html`<p>You are leaving the board in this browser.</p>
  <form method="post" action="/queues/logout"><button>Log out</button></form>
  <a href="/queues">Back to the board</a>`;

async function sendPage(reply: FastifyReply, status: number, body: Html): Promise<FastifyReply> {
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>signpipe queues</title>
        <link rel="icon" type="image/svg+xml" href="/docs/icon.svg" />
        <link rel="stylesheet" href="/queues/login.css" />
      </head>
      <body>
        <main>
          <h1>signpipe queues</h1>
          ${body}
        </main>
      </body>
    </html> `;
  // A form post needs an origin to be told apart from a foreign one, so these pages are not in a sandbox.
  return await reply
    .code(status)
    .header("content-security-policy", PAGE_POLICY)
    .header("referrer-policy", "same-origin")
    .type("text/html; charset=utf-8")
    .send(page.html);
}

function toAdapter(queue: unknown): BullMQAdapter {
  const adapter = new BullMQAdapter(queue as ConstructorParameters<typeof BullMQAdapter>[0], {
    readOnlyMode: true,
    allowRetries: false,
  });
  adapter.setFormatter("data", (data: unknown) => {
    const requestId = typeof data === "object" && data !== null && "requestId" in data ? data.requestId : undefined;
    return typeof requestId === "string" ? { requestId } : {};
  });
  adapter.setFormatter("returnValue", () => undefined);
  return adapter;
}
