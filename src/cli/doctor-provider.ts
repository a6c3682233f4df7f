import { request } from "undici";
import type { Settings } from "../config.ts";
import { createProvider } from "../provider/client.ts";
import { readTenants, type Tenants } from "../tenants.ts";
import { DEFAULT_TENANT } from "../core/tenant.ts";
import { fail, type Finding, ok, type Patient, warn } from "./doctor-finding.ts";
import { spell } from "./terminal.ts";

const ASK_MS = 5_000;
/** Clocks further apart than this are told of: times in the evidence come from ours. */
const CLOCK_WARN_MS = 2_000;
const CLOCK_FAIL_MS = 60_000;

/** What the real provider needs, and which of it is not set. */
export function checkSettings(settings: Settings, tenants: Tenants = readTenants(settings)): Finding[] {
  const found: Finding[] = [];
  if (settings.ONESHOT_URL === undefined) {
    found.push(ok("Settings", "no ONESHOT_URL: the simulator stands in, and nothing is legally signed"));
  } else {
    const account = [
      "ONESHOT_REGISTRATION_AUTHORITY",
      "ONESHOT_PROFILE",
      "ONESHOT_BILLING_USERNAME",
      "ONESHOT_BILLING_PASSWORD",
    ] as const;
    const ours = tenants.byName.get(DEFAULT_TENANT);
    const missing = ours ? account.filter((name) => settings[name] === undefined) : [];
    if (ours?.raos.size === 0) {
      const says = "ONESHOT_RAO with ONESHOT_RAO_TOKEN, or with ONESHOT_RAO_USERNAME, _PASSWORD and _PIN, is not set.";
      found.push(
        fail("Settings", says, "Set them: without an officer's credentials no identification can be approved."),
      );
    }
    if (missing.length > 0) {
      const todo = "Set them, unless the provider's server has them in its own settings.";
      found.push(warn("Settings", `Not set: ${missing.join(", ")}.`, todo));
    }
    if (
      settings.ONESHOT_URL.startsWith("http:") &&
      !/^(localhost|127\.|\[::1\])/.test(new URL(settings.ONESHOT_URL).hostname)
    ) {
      const todo = "Use https, or a private network or tunnel that nobody else can listen on.";
      found.push(warn("Settings", "ONESHOT_URL is plain http to another machine.", todo));
    }
    if (found.length === 0) found.push(ok("Settings", "what the provider needs is set"));
  }
  if (settings.APPROVAL === "auto") {
    const todo = "Be sure that a written policy allows this; manual is the default.";
    found.push(warn("Settings", "APPROVAL=auto: identifications are approved without an officer's look.", todo));
  }
  return found;
}

export async function checkProvider({ oneshotUrl, stores }: Patient): Promise<Finding[]> {
  const found = [await checkReach(oneshotUrl)];
  const standing = stores?.redis.status === "ready" ? await stores.lanes.list() : [];
  for (const { lane, reason } of standing) {
    const todo = lane === "all" ? "Nothing, unless it lasts." : 'See "Credentials rejected" in docs/operations.md.';
    found.push((lane === "all" ? warn : fail)("Provider calls", `stands still: ${reason}.`, todo));
  }
  return found;
}

async function checkReach(oneshotUrl: string | undefined): Promise<Finding> {
  if (oneshotUrl === undefined) return ok("Provider", "none is set; a start brings the simulator");
  const provider = createProvider({ url: oneshotUrl });
  const ping = await provider.ping({ signal: AbortSignal.timeout(ASK_MS) }).finally(() => provider.close());
  const { host } = new URL(oneshotUrl);
  if (ping.reachable) return ok("Provider", `${host} answers, in ${Math.round(ping.latencyMs)} ms`);
  return fail(
    "Provider",
    `${host} cannot be reached (${ping.code}).`,
    "Check ONESHOT_URL, the network, and that the Optimizer runs.",
  );
}

/** Our clock beside Redis' and the provider's. */
export async function checkClock({ oneshotUrl, stores }: Patient): Promise<Finding[]> {
  const found: Finding[] = [];
  const compare = (whose: string, theirMs: number, errorMs: number): void => {
    const apartMs = Math.max(Math.abs(Date.now() - theirMs) - errorMs, 0);
    const todo = "Have both machines set their clocks by NTP.";
    const says = `${spell(apartMs)} away from ${whose}`;
    if (apartMs > CLOCK_FAIL_MS) found.push(fail("Clock", says, todo));
    else if (apartMs > CLOCK_WARN_MS) found.push(warn("Clock", says, todo));
    else found.push(ok("Clock", `agrees with ${whose}`));
  };
  if (stores?.redis.status === "ready") {
    const time = await stores.redis.time().catch(() => undefined);
    if (time) compare("Redis", Number(time[0]) * 1000 + Number(time[1]) / 1000, 0);
  }
  if (oneshotUrl !== undefined) {
    // A Date header is in whole seconds. @source RFC 9110 §6.6.1
    const date = await dateOf(oneshotUrl);
    if (date !== undefined) compare("the provider", date, 1_000);
  }
  return found;
}

/** The Date header of whatever answers at `url`, in milliseconds since the epoch. */
async function dateOf(url: string): Promise<number | undefined> {
  try {
    const { headers, body } = await request(url, { method: "HEAD", headersTimeout: ASK_MS, bodyTimeout: ASK_MS });
    await body.dump();
    const at = Date.parse(String(headers.date));
    return Number.isNaN(at) ? undefined : at;
  } catch {
    return undefined;
  }
}
