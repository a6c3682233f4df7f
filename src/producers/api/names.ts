/** Control and format characters, line separators, lone surrogates: nothing of a name that a person could see. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const LONGEST = 200;

/**
 * A file name as it is shown: the last path segment, NFC, without control and direction characters, at most 200
 * characters with its ending kept. Never used to build a path.
 */
export function toDisplayName(name: string | undefined, fallback: string): string {
  const last = (name ?? "").split(/[/\\]/).at(-1) ?? "";
  const clean = last.normalize("NFC").replaceAll(UNSEEN, "").replaceAll(/\s+/gu, " ").trim();
  if (/^\.*$/.test(clean)) return fallback;
  const letters = [...clean];
  if (letters.length <= LONGEST) return clean;
  const ending = /\.[^.]{1,10}$/u.exec(clean)?.[0] ?? "";
  return letters.slice(0, LONGEST - [...ending].length).join("") + ending;
}

/**
 * Value of a Content-Disposition header that makes a browser save the file under `name`, whatever is in it.
 * @source RFC 6266 §4.3 and appendix D; RFC 8187 §3.2
 */
export function toContentDisposition(name: string): string {
  const plain = name.replaceAll(/[^\x20-\x7e]|["\\%;]/gu, "_");
  const encoded = encodeURIComponent(name.toWellFormed()).replaceAll(
    /['()*]/g,
    (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
}
