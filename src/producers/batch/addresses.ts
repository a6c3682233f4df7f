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
