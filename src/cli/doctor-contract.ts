import { connect } from "node:tls";
import { isFailure } from "../core/errors.ts";
import { TokenUid } from "../core/signing.ts";
import type { Settings } from "../config.ts";
import type { Provider, Rao } from "../provider/provider.ts";
import { toText } from "../provider/wire.ts";
import { fail, type Finding, ok, warn } from "./doctor-finding.ts";
import { createProber, isKnown, type Look, type Prober, shapeOf, told } from "./prober.ts";
import { spell, visible } from "./terminal.ts";

/** Something that the provider's published pages leave open, and what this server answered; undefined: not answered. */
export interface Question {
  question: string;
  answer: string | undefined;
  /** Where docs/provider.md has it. */
  source: string;
}

export interface Examined {
  findings: Finding[];
  questions: Question[];
}

export interface Examinee {
  url: string;
  retrieval: Settings["ONESHOT_RETRIEVAL"];
  provider: Pick<Provider, "getToken" | "listTokens">;
  raos: ReadonlyMap<string, Rao>;
  /** A request of ours whose identification is not approved yet. */
  early: number | undefined;
}

/** Where the two generations are served. @source docs/provider.md §Base path */
const GENERATIONS = new Map([
  ["/oneshot/api/v1", "the newest generation's"],
  ["/api/v1", "the first generation's"],
]);
const BASE_PATHS = [...GENERATIONS.keys()];
/** No document has it. */
const NOBODY = "00000000-0000-0000-0000-000000000000";
const LOOKS = 5;
const SLOW_MS = 2_000;
const CERTIFICATE_WARN_MS = 21 * 86_400_000;
const TLS_MS = 10_000;

/** What is known while the server is looked at. */
interface Sight extends Examinee {
  prober: Prober;
  nowhere: Look;
  unknown: Look;
}

/**
 * The checks that cost nothing and do nothing at the provider: reads, of numbers that nobody has, and of paths by a
 * method that they do not take. One call is a POST, where a read does not tell whether the path of the approval is there:
 * for identification 0, which nobody has, and without credentials.
 */
export async function examineContract(examinee: Examinee): Promise<Examined> {
  const prober = createProber(examinee.url);
  const { host } = new URL(examinee.url);
  let seen: { nowhere: Look; looks: Look[] };
  try {
    const looks: Look[] = [];
    for (let i = 0; i < LOOKS; i++) looks.push(await prober.look("GET", "/request/0"));
    seen = { nowhere: await prober.nowhere("GET"), looks };
  } catch (error) {
    const todo = "Check ONESHOT_URL, the network, the certificate, and that the Optimizer runs.";
    return { findings: [fail("Provider", `${host} cannot be reached (${reasonOf(error)}).`, todo)], questions: [] };
  }
  const unknown = seen.looks[0] as Look;
  const sight: Sight = { ...examinee, prober, nowhere: seen.nowhere, unknown };
  const base = await checkBase(sight);
  const findings = [checkLatency(host, seen.looks), ...(await checkTls(examinee.url)), base.finding];
  if (base.finding.level === "fail") return { findings, questions: [base.question] };
  const parts = [
    { findings: [], questions: [base.question, askEnvelope(sight)] },
    await checkApproval(sight, base.elsewhere),
    await checkRetrieval(sight),
    await checkTokens(sight),
    await askImages(sight),
    await askRest(sight),
  ];
  return {
    findings: [...findings, ...parts.flatMap((part) => part.findings)],
    questions: parts.flatMap((part) => part.questions),
  };
}

function checkLatency(host: string, looks: readonly Look[]): Finding {
  // The first one has the connection to make.
  const times = looks.map(({ latencyMs }) => latencyMs);
  const [first = 0, ...rest] = times;
  const typicalMs = rest.sort((a, b) => a - b)[Math.floor(rest.length / 2)] ?? first;
  const says = `${host} answers: ${Math.round(typicalMs)} ms a call, ${Math.round(first)} ms the first`;
  if (typicalMs <= SLOW_MS) return ok("Provider", says);
  return warn("Provider", says, "Slow for a call that finds nothing: is the network, or the Optimizer, overloaded?");
}

async function checkTls(url: string): Promise<Finding[]> {
  const { protocol, hostname, port } = new URL(url);
  const isLocal = /^(localhost|127\..*|\[::1\])$/.test(hostname);
  if (protocol !== "https:") {
    if (isLocal) return [ok("TLS", "none, on this machine")];
    const todo = "Use https, or a private network or tunnel that nobody else can listen on.";
    return [warn("TLS", "Plain http to another machine: passwords and documents can be read on the way.", todo)];
  }
  const { version, untilMs } = await new Promise<{ version: string; untilMs: number }>((resolve, reject) => {
    const host = hostname.replace(/^\[|\]$/g, "");
    const servername = /^[\d.]+$|:/.test(host) ? undefined : host;
    const socket = connect({ host, port: Number(port || 443), ...(servername && { servername }) }, () => {
      resolve({ version: socket.getProtocol() ?? "?", untilMs: Date.parse(socket.getPeerCertificate().valid_to) });
      socket.destroy();
    });
    socket.setTimeout(TLS_MS, () => socket.destroy(new Error("no answer")));
    socket.once("error", reject);
  });
  const leftMs = untilMs - Date.now();
  const says = `${version}, a certificate that is trusted here, for ${spell(leftMs)} more`;
  if (leftMs > CERTIFICATE_WARN_MS) return [ok("TLS", says)];
  return [warn("TLS", says, "Have it renewed: signpipe calls no server whose certificate has run out.")];
}

interface Base {
  finding: Finding;
  question: Question;
  /** Other base paths of this server under which there is an API. */
  elsewhere: string[];
}

/** Whether ONESHOT_URL leads to the API, and which generation that is. */
async function checkBase({ prober, nowhere, unknown }: Sight): Promise<Base> {
  const { origin, pathname } = new URL(prober.base);
  const question = { question: "Which generation is served, and where?", source: "§Base path" };
  const elsewhere: string[] = [];
  for (const path of BASE_PATHS.filter((one) => one !== pathname)) {
    const at = `${origin}${path}`;
    const found = await prober.look("GET", "/request/0", { at });
    if (isKnown(found, await prober.nowhere("GET", at))) elsewhere.push(path);
  }
  const others = elsewhere.join(", ");
  if (!isKnown(unknown, nowhere)) {
    const todo = elsewhere.length > 0 ? `Set ONESHOT_URL to ${origin}${elsewhere[0] ?? ""}.` : "Correct ONESHOT_URL.";
    const says = `Requests are not known under ${pathname}: it answers as for a path that does not exist (${told(nowhere)}).`;
    return {
      finding: fail("Base path", says, todo),
      question: { ...question, answer: others || undefined },
      elsewhere,
    };
  }
  const generation = GENERATIONS.get(pathname) ?? "neither generation's own";
  const answer = `${pathname}, ${generation}${others && `, and ${others} as well`}`;
  return {
    finding: ok("Base path", `the API is under ${pathname}, ${generation}`),
    question: { ...question, answer },
    elsewhere,
  };
}

function askEnvelope({ unknown, nowhere }: Sight): Question {
  const answer = `an unknown request: ${told(unknown)}; an unknown path: ${told(nowhere)}`;
  return { question: "How are refusals worded?", answer, source: "§Error bodies" };
}

/** The published paths of the approval. @source docs/provider.md §Approve, §Contradictions */
const APPROVALS = ["/videoid/0/approve", "/request/0/approve", "/requests/0/approve"] as const;

async function checkApproval({ prober, nowhere }: Sight, elsewhere: readonly string[]): Promise<Examined> {
  const check = "Approval";
  const [ours] = APPROVALS;
  const question = { question: "Under which path is an identification approved?", source: "§Approve" };
  const there: string[] = [];
  for (const path of APPROVALS) {
    // A path that takes POST refuses GET by name; nothing can be approved by reading.
    const found = await prober.look("GET", path);
    const isNamed = found.status === 405 && nowhere.status !== 405;
    if (isNamed && (found.allow === undefined || found.allow.includes("POST"))) there.push(path);
  }
  if (there.length === 0) {
    const found = await prober.look("POST", ours);
    if (found.status < 300) {
      const says = `An approval of nobody, without credentials, was answered with ${found.status}.`;
      const todo = "Is this a One-Shot server? Ask the provider before anything is approved here.";
      return { findings: [fail(check, says, todo)], questions: [{ ...question, answer: undefined }] };
    }
    if (found.status !== 405 && isKnown(found, await prober.nowhere("POST"))) there.push(ours);
  }
  const shown = there.map((path) => path.replace("/0/", "/{pk}/"));
  const questions = [{ ...question, answer: there.length > 0 ? shown.join(", ") : undefined }];
  if (there.includes(ours)) return { findings: [ok(check, "its path is there, and nothing was approved")], questions };
  const says = `There is no POST ${ours.replace("/0/", "/{videoid_pk}/")}${there.length > 0 ? `, but ${shown.join(", ")}` : ""}.`;
  const [newest = ""] = BASE_PATHS;
  const todo = elsewhere.includes(newest)
    ? `Set ONESHOT_URL to ${new URL(prober.base).origin}${newest}, where the newest generation is.`
    : "No identification can be approved here: ask the provider for a newer Optimizer, or for the path it has.";
  return { findings: [fail(check, says, todo)], questions };
}

async function checkRetrieval({ prober, nowhere, retrieval, early }: Sight): Promise<Examined> {
  const forms = { seed: `/document/0/signed/${NOBODY}`, reference: `/document/0/${NOBODY}?document_type=signed` };
  const there: string[] = [];
  for (const [form, path] of Object.entries(forms)) {
    const found = await prober.look("GET", path);
    // A path that is there for deleting refuses reading by name.
    if (found.status !== 405 && isKnown(found, nowhere)) there.push(form);
  }
  const words = {
    seed: "/document/{pk}/signed/{uid} (seed)",
    reference: "/document/{pk}/{uid}?document_type=signed (reference)",
  };
  const answer = there.length > 0 ? there.map((form) => words[form as keyof typeof words]).join(", ") : undefined;
  const questions: Question[] = [
    { question: "Under which path are signed documents?", answer, source: "§Retrieval" },
    {
      question: "Is the contract there before the approval?",
      answer: await askContract(prober, early),
      source: "§Contract",
    },
  ];
  const check = "Retrieval";
  if (there.length === 0) {
    const todo = "Ask the provider how signed documents are fetched: none of the published forms is known here.";
    return { findings: [fail(check, "Neither form of the call for signed documents is known.", todo)], questions };
  }
  if (retrieval !== "auto" && !there.includes(retrieval)) {
    const todo = `Set ONESHOT_RETRIEVAL to ${there.join(" or ")}, or to auto.`;
    return {
      findings: [fail(check, `ONESHOT_RETRIEVAL is ${retrieval}, and this server has ${there.join(" and ")}.`, todo)],
      questions,
    };
  }
  return { findings: [ok(check, `signed documents: ${there.join(" and ")}`)], questions };
}

/** Only a request of ours can tell, while it waits for its approval. */
async function askContract(prober: Prober, early: number | undefined): Promise<string | undefined> {
  if (early === undefined) return undefined;
  const found = await prober.look("GET", `/contract/${early}`);
  return found.isPdf ? "yes" : `no: ${told(found)}`;
}

async function checkTokens({ provider, raos }: Sight): Promise<Examined> {
  const findings: Finding[] = [];
  for (const [name, rao] of raos) {
    const who = `RAO ${name} (${rao.rao})`;
    findings.push(
      "token" in rao
        ? await checkToken(provider, who, rao)
        : ok("Token", `${who} has none: user name, password and PIN are tried by the first approval`),
    );
  }
  const count = await provider.listTokens().then(
    (tokens) => `yes: ${tokens.length}`,
    (error: unknown) => `no (${codeOf(error)})`,
  );
  return { findings, questions: [{ question: "Are tokens listed?", answer: count, source: "§Tokens" }] };
}

async function checkToken(provider: Examinee["provider"], who: string, rao: Rao & { token: string }): Promise<Finding> {
  const uid = TokenUid.safeParse(rao.token);
  try {
    if (!uid.success) return fail("Token", `The token of ${who} is too long to be one.`, "Correct it.");
    const { hasPassword, hasPin } = await provider.getToken(uid.data);
    const missing = [...(hasPassword || rao.password ? [] : ["password"]), ...(hasPin || rao.pin ? [] : ["PIN"])];
    if (missing.length === 0) return ok("Token", `that of ${who} is known`);
    const todo = "Make one with them (signpipe token create), or give them beside it in TENANTS_FILE.";
    return fail(
      "Token",
      `That of ${who} was stored without ${missing.join(" and ")}, and there is none beside it.`,
      todo,
    );
  } catch (error) {
    if (isFailure(error, "not-found", "path-unknown")) {
      return fail("Token", `That of ${who} is not known there.`, "Make one with: signpipe token create");
    }
    return warn(
      "Token",
      `That of ${who} could not be looked up (${codeOf(error)}).`,
      "Look it up with: signpipe token list",
    );
  }
}

async function askImages({ prober, nowhere }: Sight): Promise<Examined> {
  const found = await prober.look("GET", "/images");
  const isThere = found.status < 300;
  const questions: Question[] = [
    {
      question: "Are images listed?",
      answer: isThere ? "yes" : isKnown(found, nowhere) ? `no: ${told(found)}` : "no such call",
      source: "§Images",
    },
    ...(isThere ? [{ question: "How are successes worded?", answer: told(found), source: "§Images" }] : []),
  ];
  return { findings: [], questions };
}

/** Calls of the first generation of which nobody says whether the newest has them, and paths that are written in two ways. */
async function askRest({ prober, nowhere, unknown }: Sight): Promise<Examined> {
  const ask = async (path: string) => {
    const found = await prober.look("GET", path);
    return { found, isThere: found.status < 300, isKnown: isKnown(found, nowhere) };
  };
  const [hello, version, settings, slash] = [
    await ask("/hello"),
    await ask("/version"),
    await ask("/settings"),
    await ask("/request/0/"),
  ];
  const yesOr = ({ found, isThere, isKnown: known }: Awaited<ReturnType<typeof ask>>) =>
    isThere ? "yes" : known ? `no: ${told(found)}` : "no such call";
  const running = version.isThere ? nameOf(version.found) : undefined;
  return {
    findings: [ok("Version", running ?? "not told, as the newest generation does not")],
    questions: [
      { question: "Is there a hello, for health checks?", answer: yesOr(hello), source: "§Not documented" },
      {
        question: "Is the version told?",
        answer: running === undefined ? yesOr(version) : `yes: ${running}`,
        source: "§Not documented",
      },
      // What the settings are is nobody's business here: they have a password in them.
      { question: "Are the Optimizer's settings served?", answer: yesOr(settings), source: "§Contradictions" },
      {
        question: "Is a slash at the end of a path taken?",
        answer:
          slash.found.status === unknown.status && shapeOf(slash.found.body) === shapeOf(unknown.body)
            ? "yes"
            : `no: ${told(slash.found)}`,
        source: "§Contradictions",
      },
    ],
  };
}

/** Name and version out of whatever envelope. */
function nameOf({ body }: Look): string | undefined {
  try {
    const { name, version } = JSON.parse(toText(body)) as { name?: unknown; version?: unknown };
    const words = [name, version].filter((one) => typeof one === "string").map((one) => visible(one).slice(0, 40));
    return words.length > 0 ? words.join(" ") : undefined;
  } catch {
    return undefined;
  }
}

function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  return typeof code === "string" ? code : "unexpected";
}

function reasonOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown };
  return [code, name].find((one) => typeof one === "string") ?? "no answer";
}
