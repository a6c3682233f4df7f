import { lookup as lookupHost } from "node:dns";
import type { Readable } from "node:stream";
import { Agent } from "undici";
import { isPublicAddress, mayBePublic, NOT_PUBLIC, onlyPublic } from "../address.ts";
import { ApiError } from "./problem.ts";

/** A document may take this long in all, and this long without a byte. */
const FETCH_MS = 5 * 60_000;
const SILENCE_MS = 20_000;
const CONNECT_MS = 10_000;

/** Fetches documents from where the operator allows it. */
export interface Remote {
  /** Throws ApiError "document-host-not-allowed" for an address that may not be called. Calls nobody. */
  mayFetch(url: string): void;
  /**
   * Begins to fetch what is there. Throws ApiError "document-host-not-allowed", "document-not-fetched",
   * "document-host-unreachable"; the content fails with any error when it breaks off.
   */
  fetch(url: string): Promise<{ content: Readable; declaredBytes: number | undefined }>;
  close(): Promise<void>;
}

/** What the operator's list says of a host: nothing, that it may be called where it is public, or wherever it is. */
type Leave = "none" | "public" | "anywhere";

/**
 * `hosts` has names (`files.example`, `files.example:8443`, `*.files.example`), which are called by https and only at
 * public addresses, and origins (`http://10.0.0.5:9000`), which may be private, by the scheme that stands there. What a
 * name leads to is looked at for the very connection. Redirects are not followed: they would lead past the list. Neither
 * error nor log has the address, which may hold a secret.
 */
export function createRemote({
  hosts,
  lookup = lookupHost,
  isPublic = isPublicAddress,
  silenceMs = SILENCE_MS,
  fetchMs = FETCH_MS,
}: {
  hosts: readonly string[];
  /** How names become addresses. */
  lookup?: typeof lookupHost;
  isPublic?: (address: string) => boolean;
  silenceMs?: number;
  fetchMs?: number;
}): Remote {
  const origins = new Set(hosts.filter((host) => host.includes("://")).map((host) => new URL(host).origin));
  const names = hosts.filter((host) => !host.includes("://")).map((host) => host.toLowerCase());
  const open = new Agent({ connect: { timeout: CONNECT_MS } });
  const guarded = new Agent({ connect: { timeout: CONNECT_MS, lookup: onlyPublic(lookup, isPublic) } });

  function leaveFor({ origin, protocol, host, hostname, username, password }: URL): Leave {
    if (username !== "" || password !== "") return "none";
    if (origins.has(origin)) return "anywhere";
    const isNamed = names.some((name) => (name.startsWith("*.") ? host.endsWith(name.slice(1)) : host === name));
    if (protocol !== "https:" || !isNamed) return "none";
    return mayBePublic(hostname, isPublic) ? "public" : "none";
  }

  function mustBeAllowed(url: string): { target: URL; leave: Leave } {
    const target = new URL(url);
    const leave = leaveFor(target);
    if (leave === "none") throw notAllowed(target);
    return { target, leave };
  }

  return {
    mayFetch(url) {
      mustBeAllowed(url);
    },

    async fetch(url) {
      const { target, leave } = mustBeAllowed(url);
      const answer = await (leave === "anywhere" ? open : guarded)
        .request({
          origin: target.origin,
          path: target.pathname + target.search,
          method: "GET",
          headers: { accept: "*/*", "accept-encoding": "identity", "user-agent": "signpipe" },
          headersTimeout: silenceMs,
          bodyTimeout: silenceMs,
          signal: AbortSignal.timeout(fetchMs),
        })
        .catch((cause: unknown) => {
          if ((cause as NodeJS.ErrnoException).code === NOT_PUBLIC) throw notAllowed(target);
          throw unreachable(target.host);
        });
      const { statusCode: status, headers, body } = answer;
      const encoding = headers["content-encoding"];
      if (status === 200 && (encoding === undefined || encoding === "identity")) {
        const declared = Number(headers["content-length"]);
        return { content: body, declaredBytes: Number.isSafeInteger(declared) ? declared : undefined };
      }
      body.on("error", () => {});
      body.destroy();
      if (status >= 500 || status === 429) throw unreachable(target.host);
      throw new ApiError("document-not-fetched", `${target.host} ${toReason(status)}.`);
    },

    async close() {
      await Promise.all([open.destroy(), guarded.destroy()]);
    },
  };
}

function toReason(status: number): string {
  if (status === 200) return "sends it in an encoding that was not asked for";
  if (status >= 300 && status < 400)
    return `answers with ${status}: a redirection is not followed, name where it leads`;
  return `answers with ${status} and not with the document`;
}

function notAllowed({ host }: URL): ApiError {
  const detail = `Documents are not fetched from ${host.slice(0, 200)}: the operator allows hosts with DOCUMENT_HOSTS, by https at public addresses unless the list says otherwise.`;
  return new ApiError("document-host-not-allowed", detail);
}

export function unreachable(host: string): ApiError {
  return new ApiError("document-host-unreachable", `${host} does not give the document at the moment; try again.`);
}
