import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  type KeyObject,
} from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bits, integer, octets, oid, printable, sequence, setOf, tagged, time, tlv, utf8, yes } from "./der.ts";
import { signContent } from "./cms.ts";

/** Who a single-use certificate is for. No e-mail address and no phone number goes into a certificate. */
export type Subject = { commonName: string; givenName?: string; surname?: string; country?: string };

/** A key and certificate that live for one sign call. */
export type SingleUse = {
  commonName: string;
  /** The subject on one line, as the variable SUBJECT of a visible signature shows it. */
  subjectText: string;
  serialHex: string;
  validFrom: Date;
  validTo: Date;
  /** No signature of this signer is longer. */
  maxSignatureBytes: number;
  /** A detached CMS signature over content with this SHA-256 digest. */
  sign: (contentSha256: Buffer, at: Date) => Buffer;
};

export type Authority = { pem: string; certificate: Buffer; issue: (subject: Subject, at: Date) => SingleUse };

const ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));
const ISSUER_NAME = "signpipe simulator CA (no legal value)";

const attribute = (type: string, value: Buffer): Buffer => setOf(sequence(oid(type), value));
const extension = (type: string, critical: boolean, value: Buffer): Buffer =>
  critical ? sequence(oid(type), yes(), octets(value)) : sequence(oid(type), octets(value));

function nameOf(subject: Subject): Buffer {
  return sequence(
    ...(subject.country ? [attribute("2.5.4.6", printable(subject.country))] : []),
    ...(subject.surname ? [attribute("2.5.4.4", utf8(subject.surname))] : []),
    ...(subject.givenName ? [attribute("2.5.4.42", utf8(subject.givenName))] : []),
    attribute("2.5.4.3", utf8(subject.commonName)),
  );
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

function certificate(body: Body, key: KeyObject): Buffer {
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

const keyId = (spki: Buffer): Buffer => createHash("sha1").update(spki).digest();

function newKey(): { key: KeyObject; spki: Buffer } {
  const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { key: pair.privateKey, spki: pair.publicKey.export({ type: "spki", format: "der" }) };
}

function newSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = (serial[0] ?? 0) & 0x7f || 1;
  return serial;
}

function makeRoot(): { key: KeyObject; spki: Buffer; certificate: Buffer } {
  const { key, spki } = newKey();
  const name = nameOf({ commonName: ISSUER_NAME });
  const from = new Date(Date.now() - 86_400_000);
  const to = new Date(Date.now() + 20 * 365 * 86_400_000);
  const extensions = [
    extension("2.5.29.19", true, sequence(yes())),
    extension("2.5.29.15", true, bits(Buffer.from([0x06]), 1)), // keyCertSign, cRLSign
    extension("2.5.29.14", false, octets(keyId(spki))),
  ];
  return {
    key,
    spki,
    certificate: certificate({ serial: newSerial(), issuer: name, subject: name, spki, from, to, extensions }, key),
  };
}

const armour = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${(der.toString("base64").match(/.{1,64}/g) ?? []).join("\n")}\n-----END CERTIFICATE-----\n`;

const unarmour = (pem: string): Buffer => Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");

/**
 * The simulator's own certificate authority: made once, kept in `folder`, read again after a restart.
 * Keys are EC P-256, so a fresh key and certificate per sign call cost well under a millisecond.
 */
export function openAuthority(folder: string): Authority {
  const certificatePath = join(folder, "ca.pem");
  const keyPath = join(folder, "ca.key.pem");
  let root: { key: KeyObject; certificate: Buffer };
  if (existsSync(certificatePath) && existsSync(keyPath)) {
    root = {
      key: createPrivateKey(readFileSync(keyPath)),
      certificate: unarmour(readFileSync(certificatePath, "utf8")),
    };
  } else {
    root = makeRoot();
    writeFileSync(keyPath, root.key.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
    writeFileSync(certificatePath, armour(root.certificate));
  }
  const issuer = nameOf({ commonName: ISSUER_NAME });
  const rootSpki = createPublicKey(root.key).export({ type: "spki", format: "der" });
  const authorityKeyId = sequence(tlv(0x80, keyId(rootSpki)));
  const fixed = [
    extension("2.5.29.19", true, sequence()),
    extension("2.5.29.15", true, bits(Buffer.from([0xc0]), 6)), // digitalSignature, nonRepudiation
    extension("2.5.29.35", false, authorityKeyId),
  ];

  const issue = (subject: Subject, at: Date): SingleUse => {
    const { key, spki } = newKey();
    const serial = newSerial();
    const validFrom = new Date(Math.floor(at.getTime() / 1000) * 1000 - 60_000);
    const validTo = new Date(validFrom.getTime() + 86_400_000);
    const extensions = [...fixed, extension("2.5.29.14", false, octets(keyId(spki)))];
    const own = certificate(
      { serial, issuer, subject: nameOf(subject), spki, from: validFrom, to: validTo, extensions },
      root.key,
    );
    const signer = { key, certificate: own, chain: [root.certificate], issuer, serial };
    return {
      commonName: subject.commonName,
      subjectText: describe(subject),
      serialHex: serial.toString("hex"),
      validFrom,
      validTo,
      // Both certificates, and for the rest (names once more, attributes, signature) what a P-256 signature needs at most.
      maxSignatureBytes: own.length + root.certificate.length + 2 * issuer.length + 512,
      sign: (contentSha256, signedAt) => signContent(signer, contentSha256, signedAt),
    };
  };
  return { pem: armour(root.certificate), certificate: root.certificate, issue };
}

function describe(subject: Subject): string {
  const parts = [`CN=${subject.commonName}`];
  if (subject.givenName) parts.push(`GN=${subject.givenName}`);
  if (subject.surname) parts.push(`SN=${subject.surname}`);
  if (subject.country) parts.push(`C=${subject.country}`);
  return parts.join(", ");
}
