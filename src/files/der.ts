/** One element of DER, or of BER: a view into the bytes it was read from. @source ITU-T X.690 §8.1 */
export interface Element {
  /** The identifier octet: class, "constructed", and number. */
  readonly tag: number;
  /** All of it, as it stands. */
  readonly raw: Buffer;
  /** Without tag and length. */
  readonly body: Buffer;
}

/** Thrown for bytes that are not ASN.1. */
export class BadDer extends Error {
  override readonly name = "BadDer";
}

export const TAG = { integer: 0x02, octets: 0x04, oid: 0x06, sequence: 0x30, set: 0x31 } as const;

const CONSTRUCTED = 0x20;
/** Longer ones are those of tags that no signature has. */
const LONG_TAG = 0x1f;
const INDEFINITE = 0x80;
/** Registered ones are smaller by far. */
const ARC_MOST = 2 ** 40;
/** Deeper than any certificate; bounds the work on a made-up one. */
const DEPTH_MOST = 32;

/**
 * The element that begins at `at`. Lengths may be longer than they need be, and indefinite, since there are signers
 * that write BER; every element must lie within the bytes. Throws BadDer.
 */
export function readElement(bytes: Buffer, at = 0): Element {
  return elementAt(bytes, at, 0);
}

/** The elements within a constructed one, in order. Throws BadDer. */
export function elementsOf({ tag, body }: Element): Element[] {
  if (!(tag & CONSTRUCTED)) throw new BadDer("no elements in a primitive one");
  const found: Element[] = [];
  for (let at = 0; at < body.length;) {
    const element = elementAt(body, at, 0);
    found.push(element);
    at += element.raw.length;
  }
  return found;
}

/** An object identifier in its dotted form. Throws BadDer. @source ITU-T X.690 §8.19 */
export function readOid({ tag, body }: Element): string {
  if (tag !== TAG.oid || body.length === 0 || body.length > 64) throw new BadDer("no object identifier");
  const arcs: number[] = [];
  let arc = 0;
  for (const [i, byte] of body.entries()) {
    if (arc === 0 && byte === 0x80) throw new BadDer("an object identifier with padding");
    arc = arc * 128 + (byte & 0x7f);
    if (arc > ARC_MOST) throw new BadDer("an object identifier that no signature has");
    if (byte & 0x80) {
      if (i === body.length - 1) throw new BadDer("an object identifier that ends early");
      continue;
    }
    arcs.push(arc);
    arc = 0;
  }
  const [joint = 0, ...rest] = arcs;
  const first = Math.min(Math.floor(joint / 40), 2);
  return [first, joint - first * 40, ...rest].join(".");
}

function elementAt(bytes: Buffer, at: number, depth: number): Element {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined) throw new BadDer("an element that ends early");
  if ((tag & LONG_TAG) === LONG_TAG) throw new BadDer("a tag that no signature has");
  if (first === INDEFINITE) return indefiniteAt(bytes, at, depth);
  const more = first > INDEFINITE ? first & 0x7f : 0;
  if (more > 4 || at + 2 + more > bytes.length) throw new BadDer("a length that cannot be");
  const length = more === 0 ? first : bytes.readUIntBE(at + 2, more);
  const start = at + 2 + more;
  if (start + length > bytes.length) throw new BadDer("an element that ends early");
  return { tag, raw: bytes.subarray(at, start + length), body: bytes.subarray(start, start + length) };
}

/** One that ends where two zeros stand in the place of an element. @source ITU-T X.690 §8.1.3.6 */
function indefiniteAt(bytes: Buffer, at: number, depth: number): Element {
  const tag = bytes[at] ?? 0;
  if (!(tag & CONSTRUCTED) || depth >= DEPTH_MOST) throw new BadDer("a length that cannot be");
  let end = at + 2;
  while (bytes[end] !== 0 || bytes[end + 1] !== 0) end += elementAt(bytes, end, depth + 1).raw.length;
  return { tag, raw: bytes.subarray(at, end + 2), body: bytes.subarray(at + 2, end) };
}
