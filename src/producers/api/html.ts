/** Text that is HTML already. */
export interface Html {
  readonly html: string;
}

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

export function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (letter) => ENTITIES[letter] ?? letter);
}

type Value = string | number | Html | undefined | false | readonly Value[];

/** HTML from a template: every value is escaped, unless it came from `html` itself. */
export function html(parts: TemplateStringsArray, ...values: Value[]): Html {
  return { html: parts.reduce((text, part, i) => text + toText(values[i - 1]) + part) };
}

function toText(value: Value): string {
  if (value === undefined || value === false) return "";
  if (typeof value === "string" || typeof value === "number") return escape(String(value));
  return "html" in value ? value.html : value.map(toText).join("");
}

/** Policies for the pages. Nothing comes from elsewhere, nothing is framed. @source https://www.w3.org/TR/CSP3/ */
export const PAGE_POLICY =
  "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
