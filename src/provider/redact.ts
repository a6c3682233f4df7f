const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;
const EMAIL = /[^\s@"'<>(){}[\],;:=]{1,64}@[^\s@"'<>(){}[\],;:=]{1,255}/gu;
/** Nine digits or more, or a plus sign and seven: shorter numbers are the provider's own (a request_pk has seven). */
const PHONE = new RegExp(String.raw`(${UUID.source})|\+\d(?:[\s().-]{0,2}\d){6,}|\d(?:[\s().-]{0,2}\d){8,}`, "gi");
/** A run that may be a file in Base64, of which a server that checks bodies by a schema sends all back. */
const DATA = /[A-Za-z0-9+/_-]{64,}={0,2}/g;
const LONGEST_TEXT = 4096;
/** The ending of a file's name. */
const ENDING = /\.[A-Za-z0-9]{1,8}$/;
/** What a server may put in the place of what separates the words of a file's name. */
const BETWEEN = /[\s_.+-]+/u;
/**
 * Words of the provider's own: a file that is called by these alone says nothing of anybody, and its name is left in
 * "document_front is missing".
 */
const OWN_WORDS = new Set(
  (
    "audio certificate code contract data document documents email error extra file files film front hash hashfile id " +
    "image images letter mobile name number original owner page pdf phone photo picture pin position profile rear " +
    "request scan secret serial sign signature signed signer status surname token type user video"
  ).split(" "),
);

function isData(run: string): boolean {
  return /[a-z]/.test(run) && /[A-Z]/.test(run) && /\d/.test(run);
}

function escape(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\/]/g, String.raw`\$&`);
}

/**
 * Patterns for the bare names of a secret that is called like a file ("lease Ana López.pdf.p7m"), with any separators and
 * without accents, as servers rewrite names. Only whole words of a text are cut for them, and none for a bare name with
 * fewer than two letters and fewer than five digits, or of the provider's own words: little would be left of what it says.
 */
function bareNames(secret: string): string[] {
  const names: string[] = [];
  for (let bare = secret; ENDING.test(bare) && names.length < 2; names.push(bare)) bare = bare.replace(ENDING, "");
  return names
    .flatMap((name) => [name, name.normalize("NFKD").replaceAll(/\p{M}+/gu, "")])
    .flatMap((name) => {
      const words = name.split(BETWEEN).filter(Boolean);
      const isTelling = /\p{L}[^]*\p{L}/u.test(name) || /\d{5}/.test(name);
      if (!isTelling || words.every((word) => OWN_WORDS.has(word.toLowerCase()))) return [];
      const inUrl = (word: string) => encodeURIComponent(word.toWellFormed());
      const rewritten = words
        .map((word) => `(?:${escape(word)}|${escape(inUrl(word))})`)
        .join(String.raw`(?:[\s_.+-]|%20){1,4}`);
      const guises = [rewritten, ...variants(name).map(escape)];
      return [String.raw`(?<![\p{L}\p{N}])(?:${guises.join("|")})(?![\p{L}\p{N}])`];
    });
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
 * looks like an e-mail address, a phone number or the bytes of a file, at most `atMost` characters. Of secrets that are
 * names of files, the bare name goes as well.
 */
export function redact(text: string, sent: readonly string[], { atMost = 200 } = {}): string {
  // An accent can be a character of its own, and servers change one way of writing it into the other.
  const secrets = [...new Set(sent.filter(Boolean).flatMap((one) => [one, one.normalize("NFC")]))];
  const needles = [...new Set(secrets.flatMap(variants))].sort((a, b) => b.length - a.length);
  const patterns = [...needles.map(escape), ...secrets.flatMap(bareNames)];
  const hide = (line: string) =>
    patterns.length === 0 ? line : line.replaceAll(new RegExp(patterns.join("|"), "giu"), "[removed]");
  const cut = text.slice(0, LONGEST_TEXT);
  let line = hide(cut);
  // A secret that the cut went through is no longer found; what could be its beginning goes too.
  if (cut.length < text.length) line = line.slice(0, -Math.max(1, ...needles.map((needle) => needle.length)));
  line = hide(
    line
      .normalize("NFC")
      .replaceAll(/[\s\p{Cc}\p{Cf}]+/gu, " ")
      .trim(),
  );
  line = line.replaceAll(DATA, (run) => (isData(run) ? "[data]" : run));
  line = line.replaceAll(EMAIL, "[e-mail]").replaceAll(PHONE, (found, uuid?: string) => (uuid ? found : "[number]"));
  return line.length <= atMost ? line : `${line.slice(0, Math.max(0, atMost - 1))}…`;
}
