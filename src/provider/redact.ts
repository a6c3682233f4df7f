const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;
const EMAIL = /[^\s@"'<>(){}[\],;:=]{1,64}@[^\s@"'<>(){}[\],;:=]{1,255}/gu;
/** Nine digits or more, or a plus sign and seven: shorter numbers are the provider's own (a request_pk has seven). */
const PHONE = new RegExp(String.raw`(${UUID.source})|\+\d(?:[\s().-]{0,2}\d){6,}|\d(?:[\s().-]{0,2}\d){8,}`, "gi");
/** A run that may be a file in Base64, of which a server that checks bodies by a schema sends all back. */
const DATA = /[A-Za-z0-9+/_-]{64,}={0,2}/g;
const LONGEST_TEXT = 4096;

function isData(run: string): boolean {
  return /[a-z]/.test(run) && /[A-Z]/.test(run) && /\d/.test(run);
}

function escape(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\/]/g, String.raw`\$&`);
}

/** The ways in which a secret can come back: as it was, in Base64, inside JSON, inside a URL. */
function variants(secret: string): string[] {
  return [
    secret,
    Buffer.from(secret, "utf8").toString("base64"),
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret.toWellFormed()),
  ];
}

/**
 * `text` as one line that may stand in an error or a log: without the secrets that were sent, without anything that
 * looks like an e-mail address, a phone number or the bytes of a file, at most `atMost` characters.
 */
export function redact(text: string, secrets: readonly string[], { atMost = 200 } = {}): string {
  const needles = [...new Set(secrets.filter(Boolean).flatMap(variants))].sort((a, b) => b.length - a.length);
  const hide = (line: string) =>
    needles.length === 0 ? line : line.replaceAll(new RegExp(needles.map(escape).join("|"), "giu"), "[removed]");
  const cut = text.slice(0, LONGEST_TEXT);
  let line = hide(cut);
  // A secret that the cut went through is no longer found; what could be its beginning goes too.
  if (cut.length < text.length) line = line.slice(0, -Math.max(1, ...needles.map((needle) => needle.length)));
  line = hide(line.replaceAll(/[\s\p{Cc}\p{Cf}]+/gu, " ").trim());
  line = line.replaceAll(DATA, (run) => (isData(run) ? "[data]" : run));
  line = line.replaceAll(EMAIL, "[e-mail]").replaceAll(PHONE, (found, uuid?: string) => (uuid ? found : "[number]"));
  return line.length <= atMost ? line : `${line.slice(0, Math.max(0, atMost - 1))}…`;
}
