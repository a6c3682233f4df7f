import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  armour,
  certificate,
  describe,
  EXTENSIONS,
  nameOf,
  newKey,
  newSerial,
  revocations,
  unarmour,
} from "./certificate.ts";
import type { Subject } from "./certificate.ts";
import { signContent } from "./cms.ts";
import type { Digest, Signer } from "./cms.ts";
import { timestampToken } from "./timestamp.ts";

/** What a signature is to have beside the digest that it is over. */
export type SignatureWish = {
  at: Date;
  /** The signing time is among what is signed. */
  withTime: boolean;
  timestamp: boolean;
  /** More signed attributes, in DER. */
  attributes?: Buffer[];
};

/** A key and certificate that live for one sign call. */
export type SingleUse = {
  commonName: string;
  subjectText: string;
  serialHex: string;
  validFrom: Date;
  validTo: Date;
  certificate: Buffer;
  /** No signature of this signer with this wish is longer. */
  maxSignatureBytes: (wish: SignatureWish) => number;
  /** A detached CMS signature over content with this digest. */
  sign: (digest: Digest, wish: SignatureWish) => Buffer;
};

export type Authority = {
  /** The authority's own certificate. */
  pem: string;
  certificate: Buffer;
  /** That of its timestamps. */
  timestampCertificate: Buffer;
  issue: (subject: Subject, at: Date) => SingleUse;
  /** The list of certificates that were revoked, in DER. */
  revocations: (revoked: readonly string[], at: Date) => Buffer;
};

type Kept = { key: KeyObject; spki: Buffer; certificate: Buffer };

const ROOT_NAME: Subject = { commonName: "signpipe simulator CA (no legal value)" };
const TSA_NAME: Subject = { commonName: "signpipe simulator TSA (no legal value)" };
const DAY_MS = 86_400_000;
const YEARS_20_MS = 20 * 365 * DAY_MS;
/** What a signature has beside certificates, names and attributes that are asked for: at most this. */
const SIGNATURE_BYTES = 512;
/** A timestamp's content and everything around it, beside certificates and names. */
const TIMESTAMP_BYTES = 768;

/** A key and certificate that are made once, kept in `folder`, and read again after a restart. */
function kept(folder: string, name: string, make: () => Kept): Kept {
  const [certificatePath, keyPath] = [join(folder, `${name}.pem`), join(folder, `${name}.key.pem`)];
  if (existsSync(certificatePath) && existsSync(keyPath)) {
    const key = createPrivateKey(readFileSync(keyPath));
    const spki = createPublicKey(key).export({ type: "spki", format: "der" });
    return { key, spki, certificate: unarmour(readFileSync(certificatePath, "utf8")) };
  }
  const made = make();
  writeFileSync(keyPath, made.key.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  writeFileSync(certificatePath, armour(made.certificate));
  return made;
}

function validity(forMs: number): { from: Date; to: Date } {
  return { from: new Date(Date.now() - DAY_MS), to: new Date(Date.now() + forMs) };
}

function makeRoot(): Kept {
  const pair = newKey();
  const name = nameOf(ROOT_NAME);
  const extensions = [EXTENSIONS.isAuthority(true), EXTENSIONS.signsCertificates(), EXTENSIONS.keyIs(pair.spki)];
  const body = { serial: newSerial(), issuer: name, subject: name, spki: pair.spki, extensions };
  return { ...pair, certificate: certificate({ ...body, ...validity(YEARS_20_MS) }, pair.key) };
}

function makeStamper(root: Kept): Kept {
  const pair = newKey();
  const extensions = [
    EXTENSIONS.isAuthority(false),
    EXTENSIONS.signsContent(),
    EXTENSIONS.stampsTime(),
    EXTENSIONS.issuerKeyIs(root.spki),
    EXTENSIONS.keyIs(pair.spki),
  ];
  const [issuer, subject] = [nameOf(ROOT_NAME), nameOf(TSA_NAME)];
  const body = { serial: newSerial(), issuer, subject, spki: pair.spki, extensions };
  return { ...pair, certificate: certificate({ ...body, ...validity(YEARS_20_MS) }, root.key) };
}

/** The simulator's own certificate and timestamp authority. Nothing it signs has any legal value. */
export function openAuthority(folder: string): Authority {
  const root = kept(folder, "ca", makeRoot);
  const stamper = kept(folder, "tsa", () => makeStamper(root));
  const issuer = nameOf(ROOT_NAME);
  const stamperSerial = Buffer.from(new X509Certificate(stamper.certificate).serialNumber, "hex");
  const stamping: Signer = { ...stamper, chain: [], issuer, serial: stamperSerial };
  const fixed = [EXTENSIONS.isAuthority(false), EXTENSIONS.signsContent(), EXTENSIONS.issuerKeyIs(root.spki)];

  const issue = (subject: Subject, at: Date): SingleUse => {
    const { key, spki } = newKey();
    const serial = newSerial();
    const from = new Date(Math.floor(at.getTime() / 1000) * 1000 - 60_000);
    const to = new Date(from.getTime() + DAY_MS);
    const extensions = [...fixed, EXTENSIONS.keyIs(spki)];
    const own = certificate({ serial, issuer, subject: nameOf(subject), spki, from, to, extensions }, root.key);
    const signer: Signer = { key, certificate: own, chain: [root.certificate], issuer, serial };
    return {
      commonName: subject.commonName,
      subjectText: describe(subject),
      serialHex: serial.toString("hex"),
      validFrom: from,
      validTo: to,
      certificate: own,
      maxSignatureBytes({ timestamp, attributes = [] }) {
        const plain = own.length + root.certificate.length + 2 * issuer.length + SIGNATURE_BYTES;
        const stamped = timestamp ? stamper.certificate.length + 2 * issuer.length + TIMESTAMP_BYTES : 0;
        return attributes.reduce((sum, { length }) => sum + length, plain + stamped);
      },
      sign: (digest, { at: signedAt, withTime, timestamp, attributes = [] }) =>
        signContent(signer, {
          digest,
          attributes,
          ...(withTime && { at: signedAt }),
          ...(timestamp && { stamp: (signature: Buffer) => timestampToken(stamping, signature, signedAt) }),
        }),
    };
  };
  return {
    pem: armour(root.certificate),
    certificate: root.certificate,
    timestampCertificate: stamper.certificate,
    issue,
    revocations: (revoked, at) => revocations({ issuer, issuerSpki: root.spki, at, revoked }, root.key),
  };
}
