/** What a page shows, as far as it can be told without drawing it. */
export interface Page {
  /** Its text in the order of its content, without that of annotations. */
  text: string;
  /** In points, the shorter side first: a program that rewrites PDFs may turn pages upright. */
  sides: readonly [number, number];
  /** It has comments, fields or stamps, which a program that rewrites PDFs may draw into the page. */
  hasNotes: boolean;
}

/** With fewer characters than these a page is recognised by its size as well: a scan has none, or a page number. */
const FEW = 20;
/** What a page may have gained, in characters: the signature's appearance, where it is drawn into the page. */
const GAINED_MOST = 1_000;
/** By rounding. */
const POINTS_OFF = 2;

/**
 * Whether `found` is `original`, rewritten: all of the original's text stands in it, in one piece, and little else. A
 * page with notes may have gained any amount. Blanks, ligatures and characters without a meaning of their own do not
 * count; nothing else is forgiven, since a contract of another customer may differ by one digit.
 */
export function isSamePage(original: Page, found: Page): boolean {
  const [wanted, there] = [bare(original.text), bare(found.text)];
  if (!there.includes(wanted)) return false;
  if (wanted.length < FEW && !isSameSize(original, found)) return false;
  return original.hasNotes || there.length - wanted.length <= GAINED_MOST;
}

/** Composed, without blanks, hyphens that only show at a line's end, control, private and replacement characters. */
function bare(text: string): string {
  return text.normalize("NFKC").replaceAll(/[\s\p{C}\uFFFD]+/gu, "");
}

function isSameSize(one: Page, other: Page): boolean {
  return [0, 1].every((i) => Math.abs((one.sides[i] ?? 0) - (other.sides[i] ?? 0)) <= POINTS_OFF);
}
