import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";
import { bits, integer, octets, oid, printable, sequence, setOf, tagged, time, tlv, utf8, yes } from "./der.ts";

/**
 * Who a certificate is for. `serialNumber` is that of a natural person, with the kind and country of the document it
 * comes from. No e-mail address and no phone number goes into a certificate.
 * @source ETSI EN 319 412-1 §5.1.3, ETSI EN 319 412-2 §4.2.4
 */
export type Subject = {
  commonName: string;
  givenName?: string;
  surname?: string;
  serialNumber?: string;
  country?: string;
};

export type KeyPair = { key: KeyObject; spki: Buffer };

export const ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));

const attribute = (type: string, value: Buffer): Buffer => setOf(sequence(oid(type), value));

/** The subject as a name in DER. */
export function nameOf({ country, surname, givenName, serialNumber, commonName }: Subject): Buffer {
  return sequence(
    ...(country ? [attribute("2.5.4.6", printable(country))] : []),
    ...(surname ? [attribute("2.5.4.4", utf8(surname))] : []),
    ...(givenName ? [attribute("2.5.4.42", utf8(givenName))] : []),
    ...(serialNumber ? [attribute("2.5.4.5", printable(serialNumber))] : []),
    attribute("2.5.4.3", utf8(commonName)),
  );
}

/** The subject on one line, as the variable SUBJECT of a visible signature shows it. */
export function describe({ commonName, surname, givenName, serialNumber, country }: Subject): string {
  const parts: [string, string | undefined][] = [
    ["CN", commonName],
    ["SN", surname],
    ["GN", givenName],
    ["serialNumber", serialNumber],
    ["C", country],
  ];
  return parts.flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`])).join(", ");
}

const extension = (type: string, critical: boolean, value: Buffer): Buffer =>
  critical ? sequence(oid(type), yes(), octets(value)) : sequence(oid(type), octets(value));

export const keyId = (spki: Buffer): Buffer => createHash("sha1").update(spki).digest();

/** What a certificate may be used for. @source RFC 5280 §4.2.1 */
export const EXTENSIONS = {
  isAuthority: (yesOrNo: boolean) => extension("2.5.29.19", true, yesOrNo ? sequence(yes()) : sequence()),
  signsCertificates: () => extension("2.5.29.15", true, bits(Buffer.from([0x06]), 1)), // keyCertSign, cRLSign
  signsContent: () => extension("2.5.29.15", true, bits(Buffer.from([0xc0]), 6)), // digitalSignature, nonRepudiation
  stampsTime: () => extension("2.5.29.37", true, sequence(oid("1.3.6.1.5.5.7.3.8"))),
  keyIs: (spki: Buffer) => extension("2.5.29.14", false, octets(keyId(spki))),
  issuerKeyIs: (spki: Buffer) => extension("2.5.29.35", false, sequence(tlv(0x80, keyId(spki)))),
};

/** EC P-256: a fresh key costs well under a millisecond. */
export function newKey(): KeyPair {
  const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { key: pair.privateKey, spki: pair.publicKey.export({ type: "spki", format: "der" }) };
}

/** 16 bytes, the first of them neither zero nor negative. */
export function newSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = (serial[0] ?? 0) & 0x7f || 1;
  return serial;
}

type Body = {
  serial: Buffer;
  issuer: Buffer;
  subject: Buffer;
  spki: Buffer;
  from: Date;
  to: Date;
  extensions: Buffer[];
};

/** A certificate in DER, signed with the issuer's key. @source RFC 5280 §4.1 */
export function certificate(body: Body, key: KeyObject): Buffer {
  const toSign = sequence(
    tagged(0, integer(2)),
    integer(body.serial),
    ECDSA_SHA256,
    body.issuer,
    sequence(time(body.from), time(body.to)),
    body.subject,
    body.spki,
    tagged(3, sequence(...body.extensions)),
  );
  return sequence(toSign, ECDSA_SHA256, bits(sign("sha256", toSign, key)));
}

const REVOCATIONS_GOOD_MS = 7 * 86_400_000;

/**
 * A list of revoked certificates in DER, good for a week from `at`. @source RFC 5280 §5.1
 */
export function revocations(
  { issuer, issuerSpki, at, revoked }: { issuer: Buffer; issuerSpki: Buffer; at: Date; revoked: readonly string[] },
  key: KeyObject,
): Buffer {
  const rows = revoked.map((serialHex) => sequence(integer(Buffer.from(serialHex, "hex")), time(at)));
  const number = extension("2.5.29.20", false, integer(Math.floor(at.getTime() / 1000)));
  const toSign = sequence(
    integer(1),
    ECDSA_SHA256,
    issuer,
    time(at),
    time(new Date(at.getTime() + REVOCATIONS_GOOD_MS)),
    ...(rows.length > 0 ? [sequence(...rows)] : []),
    tagged(0, sequence(EXTENSIONS.issuerKeyIs(issuerSpki), number)),
  );
  return sequence(toSign, ECDSA_SHA256, bits(sign("sha256", toSign, key)));
}

/** PEM of a certificate. */
export const armour = (der: Buffer, label = "CERTIFICATE"): string =>
  `-----BEGIN ${label}-----\n${(der.toString("base64").match(/.{1,64}/g) ?? []).join("\n")}\n-----END ${label}-----\n`;

export const unarmour = (pem: string): Buffer => Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
