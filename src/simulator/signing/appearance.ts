import { name } from "../pdf/syntax.ts";
import type { PdfDict, PdfRef, PdfValue } from "../pdf/syntax.ts";
import { addPicture } from "../pdf/png.ts";
import type { Picture } from "../pdf/png.ts";
import { shown, strftime, widthOf } from "../pdf/text.ts";
import type { Visible } from "../pdf/update.ts";

/** The visible signature as the sign call asks for it. @source docs/provider.md §Signature appearance */
export type Appearance = {
  text?: string[];
  date?: string;
  timezone?: string;
  /** Lower left and upper right corner in points. */
  rect: [number, number, number, number];
  /** First page is 0. */
  page: number;
  picture?: Picture;
  /** Text beside the image instead of below it. */
  horizontal?: boolean;
};

export type Variables = { commonName: string; subject: string; email: string; at: Date };

const DEFAULT_TEXT = ["%(CN)s", "%(DATE)s"];
const DEFAULT_DATE = "%d/%m/%Y %H:%M:%S";
const BLEED = 2;

/** The lines with their variables filled in. */
export function fillIn(appearance: Appearance, variables: Variables): string[] {
  const date = strftime(appearance.date ?? DEFAULT_DATE, variables.at, appearance.timezone ?? "UTC");
  const values: Record<string, string> = {
    CN: variables.commonName,
    SUBJECT: variables.subject,
    DATE: date,
    E: variables.email,
    EMAIL: variables.email,
    L: "",
  };
  const lines = appearance.text ?? DEFAULT_TEXT;
  return lines.map((line) => line.replace(/%\(([A-Z]+)\)s/g, (all, key: string) => values[key] ?? all));
}

/** Turns the appearance into the drawing of a signature widget. */
export function drawingOf(appearance: Appearance, variables: Variables): Visible {
  const [x1, y1, x2, y2] = appearance.rect;
  const [width, height] = [x2 - x1, y2 - y1];
  const lines = fillIn(appearance, variables);
  const draw = (add: (dict: PdfDict, stream?: Buffer) => PdfRef): PdfRef => {
    const { picture } = appearance;
    const image = picture ? addPicture(picture, add) : undefined;
    const boxes = layOut(appearance, width, height);
    let content = `q 0.6 0.6 0.65 RG 0.5 w 0.25 0.25 ${width - 0.5} ${height - 0.5} re S Q\n`;
    if (picture && boxes.image) content += placed(picture, boxes.image);
    content += written(lines, boxes.text);
    const font: PdfDict = new Map<string, PdfValue>([
      ["Type", name("Font")],
      ["Subtype", name("Type1")],
      ["BaseFont", name("Helvetica")],
      ["Encoding", name("WinAnsiEncoding")],
    ]);
    const resources: PdfDict = new Map<string, PdfValue>([["Font", new Map([["F1", add(font)]])]]);
    if (image) resources.set("XObject", new Map([["Im1", image]]));
    const form: PdfDict = new Map<string, PdfValue>([
      ["Type", name("XObject")],
      ["Subtype", name("Form")],
      ["BBox", [0, 0, width, height]],
      ["Resources", resources],
    ]);
    return add(form, Buffer.from(content, "latin1"));
  };
  return { page: appearance.page, rect: appearance.rect, draw };
}

type Box = { x: number; y: number; width: number; height: number };

function layOut(appearance: Appearance, width: number, height: number): { image?: Box; text: Box } {
  if (!appearance.picture) return { text: { x: 0, y: 0, width, height } };
  if (appearance.horizontal) {
    const part = width * 0.4;
    return { image: { x: 0, y: 0, width: part, height }, text: { x: part, y: 0, width: width - part, height } };
  }
  const part = height * 0.5;
  return { image: { x: 0, y: height - part, width, height: part }, text: { x: 0, y: 0, width, height: height - part } };
}

const n = (value: number): string => String(Math.round(value * 100) / 100);

function placed(picture: Picture, box: Box): string {
  const scale = Math.min((box.width - 2 * BLEED) / picture.width, (box.height - 2 * BLEED) / picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  const [x, y] = [box.x + (box.width - width) / 2, box.y + (box.height - height) / 2];
  return `q ${n(width)} 0 0 ${n(height)} ${n(x)} ${n(y)} cm /Im1 Do Q\n`;
}

/** Sets the lines as large as the box allows, 11 points at most. */
function written(lines: string[], box: Box): string {
  if (lines.length === 0) return "";
  const room = box.width - 4 * BLEED;
  const widest = Math.max(...lines.map((line) => widthOf(line, 1)), 0.01);
  const size = Math.max(1, Math.min(11, room / widest, (box.height - 2 * BLEED) / (lines.length * 1.2)));
  const top = box.y + (box.height + lines.length * size * 1.2) / 2 - size;
  const rows = lines.map((line) => `${shown(line)} Tj T*`).join("\n");
  return `BT /F1 ${n(size)} Tf ${n(size * 1.2)} TL 0.1 0.1 0.15 rg ${n(box.x + 2 * BLEED)} ${n(top)} Td\n${rows}\nET\n`;
}
