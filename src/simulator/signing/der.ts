/** The few DER forms that a certificate and a CMS signature need. @source ITU-T X.690 */

/** One tag, length and value; the parts are joined to make the value. */
export function tlv(tag: number, ...parts: Uint8Array[]): Buffer {
  let length = 0;
  for (const part of parts) length += part.length;
  let head: number[];
  if (length < 0x80) head = [tag, length];
  else if (length < 0x100) head = [tag, 0x81, length];
  else if (length < 0x10000) head = [tag, 0x82, length >> 8, length & 255];
  else head = [tag, 0x83, length >> 16, (length >> 8) & 255, length & 255];
  return Buffer.concat([Buffer.from(head), ...parts]);
}

export const sequence = (...parts: Uint8Array[]): Buffer => tlv(0x30, ...parts);
export const octets = (bytes: Uint8Array): Buffer => tlv(0x04, bytes);
export const bits = (bytes: Uint8Array, unused = 0): Buffer => tlv(0x03, Buffer.from([unused]), bytes);
export const utf8 = (text: string): Buffer => tlv(0x0c, Buffer.from(text, "utf8"));
export const printable = (text: string): Buffer => tlv(0x13, Buffer.from(text, "latin1"));
export const yes = (): Buffer => Buffer.from([0x01, 0x01, 0xff]);

/** Context tag, constructed: `[n] EXPLICIT`, or `[n] IMPLICIT` over a constructed type. */
export const tagged = (n: number, ...parts: Uint8Array[]): Buffer => tlv(0xa0 | n, ...parts);

/** A SET OF: DER wants its members in ascending order of their encodings. */
export const setOf = (...parts: Uint8Array[]): Buffer => tlv(0x31, ...parts.sort(Buffer.compare));

/** A non-negative INTEGER, from a small number or from big-endian bytes. */
export function integer(value: number | Uint8Array): Buffer {
  const hex = typeof value === "number" ? value.toString(16) : "";
  const raw = typeof value === "number" ? Buffer.from(hex.length % 2 ? `0${hex}` : hex, "hex") : value;
  let start = 0;
  while (start < raw.length - 1 && raw[start] === 0) start++;
  const body = raw.subarray(start);
  return (body[0] ?? 0) & 0x80 ? tlv(0x02, Buffer.from([0]), body) : tlv(0x02, body);
}

/** An OBJECT IDENTIFIER from its dotted form. */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const body = [first * 40 + second, ...rest].flatMap((arc) => {
    const groups = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      groups.unshift((left & 0x7f) | 0x80);
    return groups;
  });
  return tlv(0x06, Buffer.from(body));
}

const digits = (at: Date): string => `${at.toISOString().replace(/[-:T]/g, "").slice(0, 14)}Z`;

/** UTCTime until 2049, GeneralizedTime from then on. @source RFC 5280 §4.1.2.5 */
export const time = (at: Date): Buffer =>
  at.getUTCFullYear() < 2050 ? tlv(0x17, Buffer.from(digits(at).slice(2))) : generalTime(at);

/** GeneralizedTime, to the second. */
export const generalTime = (at: Date): Buffer => tlv(0x18, Buffer.from(digits(at)));
