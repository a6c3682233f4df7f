import { deflateSync, inflateSync } from "node:zlib";
import { name } from "./syntax.ts";
import type { PdfDict, PdfRef, PdfValue } from "./syntax.ts";
import { unpredict } from "./reader.ts";

/** A PNG made ready for a PDF: `color` and, where the PNG has transparency, `alpha`. */
export type Picture = { width: number; height: number; color: Plane; alpha?: Plane };
type Plane = { dict: PdfDict; data: Buffer };

const SIGNATURE = Buffer.from("89504e470d0a1a0a", "hex");

/** Whether the bytes begin like a PNG file. @source RFC 2083 §12.11 */
export const isPng = (bytes: Buffer): boolean => bytes.subarray(0, 8).equals(SIGNATURE);

/** Width and height in pixels. */
export const pngSize = (bytes: Buffer): [number, number] => [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];

/**
 * Reads a PNG; undefined for the rare forms that are not drawn (interlaced, or 16 bits with transparency). @source RFC
 * 2083
 */
export function readPng(bytes: Buffer): Picture | undefined {
  const [width, height] = pngSize(bytes);
  const [depth, kind, , , interlaced] = bytes.subarray(24, 29) as unknown as [number, number, number, number, number];
  if (interlaced !== 0 || (kind >= 4 && depth !== 8)) return undefined;
  const pixels: Buffer[] = [];
  let palette = Buffer.alloc(0);
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString("latin1", at + 4, at + 8);
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (type === "IDAT") pixels.push(body);
    if (type === "PLTE") palette = Buffer.from(body);
    at += length + 12;
  }
  const packed = Buffer.concat(pixels);
  if (kind >= 4) return split(packed, width, height, kind === 6 ? 3 : 1);
  const colors = kind === 2 ? 3 : 1;
  const space: PdfValue =
    kind === 3
      ? [
          name("Indexed"),
          name("DeviceRGB"),
          palette.length / 3 - 1,
          { kind: "raw", text: `<${palette.toString("hex")}>` },
        ]
      : name(colors === 3 ? "DeviceRGB" : "DeviceGray");
  const dict = imageDict(width, height, space, depth);
  dict.set(
    "DecodeParms",
    new Map<string, PdfValue>([
      ["Predictor", 15],
      ["Colors", colors],
      ["BitsPerComponent", depth],
      ["Columns", width],
    ]),
  );
  return { width, height, color: { dict, data: packed } };
}

function split(packed: Buffer, width: number, height: number, colors: number): Picture {
  const step = colors + 1;
  const plain = unpredict(inflateSync(packed), width * step, step);
  const color = Buffer.alloc(width * height * colors);
  const alpha = Buffer.alloc(width * height);
  for (let i = 0; i < alpha.length; i++) {
    plain.copy(color, i * colors, i * step, i * step + colors);
    alpha[i] = plain[i * step + colors] ?? 255;
  }
  return {
    width,
    height,
    color: {
      dict: imageDict(width, height, name(colors === 3 ? "DeviceRGB" : "DeviceGray"), 8),
      data: deflateSync(color),
    },
    alpha: { dict: imageDict(width, height, name("DeviceGray"), 8), data: deflateSync(alpha) },
  };
}

function imageDict(width: number, height: number, space: PdfValue, depth: number): PdfDict {
  return new Map<string, PdfValue>([
    ["Type", name("XObject")],
    ["Subtype", name("Image")],
    ["Width", width],
    ["Height", height],
    ["ColorSpace", space],
    ["BitsPerComponent", depth],
    ["Filter", name("FlateDecode")],
  ]);
}

/** Adds the picture's objects and returns the image. */
export function addPicture(picture: Picture, add: (dict: PdfDict, stream?: Buffer) => PdfRef): PdfRef {
  const dict = new Map(picture.color.dict);
  if (picture.alpha) dict.set("SMask", add(picture.alpha.dict, picture.alpha.data));
  return add(dict, picture.color.data);
}
