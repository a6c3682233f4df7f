/** Text that is already markup. Everything else put into a page is escaped. */
export type Html = { markup: string };

const escapeText = (text: string): string => text.replace(/[&<>"']/g, (ch) => `&#${ch.charCodeAt(0)};`);

type Piece = string | number | Html | Html[] | false | undefined;

function render(piece: Piece): string {
  if (piece === undefined || piece === false) return "";
  if (Array.isArray(piece)) return piece.map((one) => one.markup).join("");
  return typeof piece === "object" ? piece.markup : escapeText(String(piece));
}

/** A template whose values are escaped unless they are markup themselves. */
export function html(strings: TemplateStringsArray, ...pieces: Piece[]): Html {
  return { markup: strings.reduce((text, part, i) => text + part + (i < pieces.length ? render(pieces[i]) : ""), "") };
}

export type PageOptions = { title: string; body: Html; narrow?: boolean; refreshS?: number };

/** A whole page, with the banner that every page of the simulator carries. */
export function page({ title, body, narrow = false, refreshS }: PageOptions): string {
  const refresh = refreshS === undefined ? undefined : html`<meta http-equiv="refresh" content="${refreshS}" />`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        ${refresh}
        <title>${title}</title>
        <link rel="stylesheet" href="/_sim/style.css" />
      </head>
      <body>
        <p class="banner"><strong>Simulator:</strong> nothing is legally signed</p>
        <main class="${narrow ? "narrow" : "wide"}">${body}</main>
      </body>
    </html> `.markup;
}

/** Nothing may be loaded but our own style sheet, and forms go nowhere else. */
export const PAGE_HEADERS = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-store",
  "content-security-policy":
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};
