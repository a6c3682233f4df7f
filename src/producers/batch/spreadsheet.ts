/** Columns with telephone numbers. */
export const PHONES: readonly string[] = ["mobile_phone_number", "ocr_mobile_phone_number"];

const AS_TEXT = "format the column as text, and enter it again";
const AS_UTF8 = "enter it again, and save the table as CSV UTF-8";
const MONTHS =
  "jan|ene|gen|feb|mar|mär|apr|abr|may|mai|mag|jun|giu|jul|lug|aug|ago|sep|set|oct|okt|ott|nov|dec|dez|dic";

interface Damage {
  /** Of these columns; of all, when left out. */
  in?: (column: string) => boolean;
  looks: RegExp;
  /** What was done to it, and the remedy, as the end of a sentence that begins with the column. */
  says: string;
}

const isPhone = (column: string) => PHONES.includes(column);
const isNumber = (column: string) => ["registration_authority", "serial_number", "ocr_serial_number"].includes(column);
const isName = (column: string) => /^(?:ocr_)?(?:given_name|surname_[12])$/.test(column);

/** What spreadsheets do to cells; the first that fits is told. */
const DAMAGES: readonly Damage[] = [
  {
    looks: /^#{2,}$/,
    says: "was saved as #### because its column is too narrow: make that wider, and save the table again",
  },
  {
    looks: /^#[\p{Lu}¡¿][\p{Lu}\d/¡¿ ]*[!?]?$/u,
    says: "is an error of the spreadsheet, like #N/A: mend its formula, or enter what is meant",
  },
  {
    in: (column) => column !== "reference",
    looks: /^[+-]?\d+(?:[.,]\d+)?E\+?\d+$/i,
    says: `was made a number like 3,47E+10 by the spreadsheet, and its last digits are lost: ${AS_TEXT}`,
  },
  {
    // UTF-8 that was read as Windows-1252: its first byte looks like Â or Ã, and no name has what follows behind those.
    looks: /[ÂÃ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]/u,
    says: `has letters that were read in another encoding, like Ã© for é: ${AS_UTF8}`,
  },
  { looks: /\ufffd/u, says: `has a letter that was lost on the way: ${AS_UTF8}` },
  { in: isName, looks: /\?/, says: `has a ? in the place of a letter that was lost on the way: ${AS_UTF8}` },
  {
    in: isPhone,
    looks: /\(0\)/,
    says: "has (0) in it, which is not dialled behind the country: leave it out, like +491719999999",
  },
  {
    in: (column) => isPhone(column) || isNumber(column),
    looks: /^\+?\d+[.,]0{1,2}$/,
    says: `was made a number with decimals by the spreadsheet: ${AS_TEXT}`,
  },
  {
    in: (column) => column === "registration_authority",
    looks: /^\d{1,3}(?:[.,'’\s]\d{3})+(?:[.,]\d+)?$/u,
    says: `was made a number like 1.000 by the spreadsheet: ${AS_TEXT}`,
  },
  {
    in: isNumber,
    looks: new RegExp(
      `^(?:\\d{1,2}[./-]\\d{1,2}[./-](?:\\d{4}|\\d{2})|\\d{4}-\\d{2}-\\d{2}(?:[ T].*)?|\\d{1,2}[-./ ](?:${MONTHS})|(?:${MONTHS})[-./ ]\\d{1,4})$`,
      "i",
    ),
    says: `was made a date by the spreadsheet: ${AS_TEXT}`,
  },
];

/** What a spreadsheet has done to a cell, told with the remedy; undefined when it did nothing. Never quotes the cell. */
export function damageOf(column: string, cell: string): string | undefined {
  const found = DAMAGES.find(({ in: isIn = () => true, looks }) => isIn(column) && looks.test(cell));
  if (found) return found.says;
  if (!isPhone(column)) return undefined;
  const phone = toPhone(cell);
  if (/^00[1-9]/.test(phone)) return "must begin with + in the place of 00, like +34699999999";
  if (/^\d{7,15}$/.test(phone)) {
    return `has no + and no country in front, which spreadsheets take away: ${AS_TEXT}, like +34699999999`;
  }
  return undefined;
}

/** A telephone number without what people put between the digits for the eye, and in front to keep it text. */
export function toPhone(cell: string): string {
  return cell.replace(/^['’]/u, "").replaceAll(/[\s\u00a0\u202f().\u2010-\u2015/-]/gu, "");
}

/** What people, and spreadsheets of several countries, write for yes and no. */
const YES = ["true", "1", "yes", "verdadero", "si", "sí", "wahr", "ja", "vero", "sì", "x"];
const NO = ["false", "0", "no", "falso", "falsch", "nein"];

/** Yes or no, as it was written; what it can be otherwise is for the check to say. */
export function toBoolean(cell: string): boolean | string {
  const word = cell.normalize("NFC").toLowerCase();
  return YES.includes(word) ? true : NO.includes(word) ? false : cell;
}

/** A share of a hundred as a number: 85, "85,0", "85 %". Anything else as it is, in small letters. */
export function toPercent(cell: string): number | string {
  const digits = /^(\d{1,3})(?:[.,]0+)?\s*%?$/.exec(cell)?.[1];
  return digits === undefined ? cell.toLowerCase() : Number(digits);
}
