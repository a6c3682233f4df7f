import { toDisplayName } from "../api/names.ts";

/** Longer ones are nobody's; the same bound as for a request. */
const MOST_LETTERS = 4_000;

/** Whether what stands in the place of a file's name is meant as an address. */
export function isAddress(name: string): boolean {
  return /^https?:\/\//i.test(name);
}

/** The address that a row names; undefined for a file's name, and for what cannot be read as an address. */
export function toUrl(name: string): URL | undefined {
  if (!isAddress(name) || name.length > MOST_LETTERS || !URL.canParse(name)) return undefined;
  return new URL(name);
}

/** What a document is called for people: the last part of its address. */
export function nameOfAddress({ pathname }: URL, otherwise: string): string {
  const last = pathname.split("/").at(-1) ?? "";
  try {
    return toDisplayName(decodeURIComponent(last), otherwise);
  } catch {
    return toDisplayName(last, otherwise);
  }
}

/** In the place of what may be a part of an address. */
export const HIDDEN = "…";
/** Longer than any file system takes. */
const NAME_LETTERS = 255;

/**
 * The names of a row as they are kept and told: of what is, or was meant as, an address nothing in which a secret may
 * stand. What comes after one with a query, and is no file, is its rest: a table splits it at a semicolon.
 */
export function toShownNames(names: readonly string[], isFile: (name: string) => boolean): string[] {
  let isRest = false;
  return names.map((name) => {
    if (isFile(name.normalize("NFC"))) isRest = false;
    else if (isAddress(name)) isRest = name.includes("?");
    else if (isRest) return HIDDEN;
    return toShown(name);
  });
}

export function toShown(name: string): string {
  if (isAddress(name)) {
    const url = toUrl(name);
    return url ? visible(`${url.origin}${url.pathname}`) : "https://…";
  }
  // No file has such a name: it is the way to one, or an address of another kind.
  if (/[\\/]/.test(name)) return visible(name.replace(/[?#].*$/s, "").replace(/\/\/[^/]*@/, "//"));
  return visible(name);
}

/** A name as it is kept: whole, but for what a person could not see. */
function visible(name: string): string {
  return name.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, "?").slice(0, NAME_LETTERS);
}
