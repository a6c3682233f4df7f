/**
 * Widths of the printable ASCII characters in Helvetica, in thousandths of the font size. @source Adobe Font Metrics,
 * Helvetica
 */
const WIDTHS = (
  "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 278 278 584 584 584 " +
  "556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 722 667 611 722 667 944 667 667 611 278 278 278 " +
  "469 556 333 556 556 500 556 556 278 556 556 222 222 500 222 833 556 556 556 556 333 500 278 556 500 722 500 500 500 334 260 334 584"
)
  .split(" ")
  .map(Number);

/** How wide a line is in Helvetica of the given size, in points; letters outside ASCII count as average ones. */
export const widthOf = (line: string, size: number): number => (sumOfWidths(line) * size) / 1000;

function sumOfWidths(line: string): number {
  let sum = 0;
  for (let i = 0; i < line.length; i++) sum += WIDTHS[line.charCodeAt(i) - 32] ?? 556;
  return sum;
}

/** The line as a string of a content stream; letters that WinAnsi lacks become question marks. */
export function shown(line: string): string {
  return `(${line.replace(/[^\x20-\x7e\xa0-\xff]/gu, "?").replace(/[\\()]/g, "\\$&")})`;
}

type Part = (parts: Record<string, string>) => string;

const DIRECTIVES: Record<string, Part> = {
  Y: (p) => p.year ?? "",
  y: (p) => (p.year ?? "").slice(-2),
  m: (p) => p.month ?? "",
  d: (p) => p.day ?? "",
  H: (p) => p.hour ?? "",
  M: (p) => p.minute ?? "",
  S: (p) => p.second ?? "",
  I: (p) => String(((Number(p.hour) + 11) % 12) + 1).padStart(2, "0"),
  p: (p) => (Number(p.hour) < 12 ? "AM" : "PM"),
  A: (p) => p.weekday ?? "",
  a: (p) => (p.weekday ?? "").slice(0, 3),
  B: (p) => p.monthName ?? "",
  b: (p) => (p.monthName ?? "").slice(0, 3),
  Z: (p) => p.zone ?? "",
  z: (p) => (p.offset ?? "").replace(/^GMT$/, "+0000").replace(/GMT|:/g, ""),
  F: (p) => `${p.year}-${p.month}-${p.day}`,
  T: (p) => `${p.hour}:${p.minute}:${p.second}`,
  "%": () => "%",
};

/**
 * A moment by a strftime pattern in an IANA zone; a directive that is not known stays as it is. Throws RangeError for
 * an unknown zone.
 */
export function strftime(pattern: string, at: Date, timeZone = "UTC"): string {
  const fields = new Intl.DateTimeFormat("en-GB", {
    timeZone,
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    weekday: "long",
    hourCycle: "h23",
    timeZoneName: "short",
  });
  const parts: Record<string, string> = {};
  for (const { type, value } of fields.formatToParts(at)) parts[type] = value;
  parts["zone"] = parts["timeZoneName"] ?? "";
  parts["monthName"] = new Intl.DateTimeFormat("en-GB", { timeZone, month: "long" }).format(at);
  const offset = new Intl.DateTimeFormat("en-GB", { timeZone, timeZoneName: "longOffset" }).formatToParts(at);
  parts["offset"] = offset.find((part) => part.type === "timeZoneName")?.value ?? "";
  return pattern.replace(/%(.)/g, (all, letter: string) => DIRECTIVES[letter]?.(parts) ?? all);
}
