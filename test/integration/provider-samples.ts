import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import type { DocumentUid, ImageUid, RequestPk, TokenUid, VideoIdPk } from "../../src/core/signing.ts";
import type { Provider } from "../../src/provider/client.ts";
import type { Evidences, Picture, RequestCreation } from "../../src/provider/provider.ts";
import type { FileToSend } from "../../src/provider/sending.ts";
import { ACCOUNT, PDF } from "./provider-server.ts";

export const PK = 1012632 as RequestPk;
export const VIDEOID = 16673 as VideoIdPk;
export const UID = "604b889f-0000-4000-8000-000000000001" as DocumentUid;
export const IMAGE = "463156ce-0000-4000-8000-000000000000" as ImageUid;
/** A token is as good as the credentials it stands for: it must not come up anywhere. */
export const TOKEN = "14185cd9-c6ec-30f4-9f59-a844a77bc234" as TokenUid;
export const CODE = "052174";

export const SIGNER = { email: "ana.canary@example.com", mobile_phone_number: "+34699999999" };

export const PNG = Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), Buffer.alloc(300, 7)]);
export const JPEG = Buffer.concat([Buffer.from([0xff, 0xd8, 0xff, 0xe0]), Buffer.alloc(301, 8)]);
export const MP4 = Buffer.concat([Buffer.from("\0\0\0\x18ftypmp42", "latin1"), Buffer.alloc(4_000, 9)]);
/** The beginning of a CMS structure: a SEQUENCE, and the OID of signed data in it. */
export const CMS = Buffer.concat([
  Buffer.from("3082076406092a864886f70d010702a0820755", "hex"),
  Buffer.alloc(1_877, 1),
]);
export const HASH = Buffer.from(
  JSON.stringify({
    messageDigest: "MC8GCSqGSIb3DQEJBDEiBCC6eBa/jwHP6kFBQN5driIjsANho5YXepy0EP9h8gAVrQ==",
    digestAlgorithm: "sha256WithRSAEncryption",
    addAuthAttribute: 1,
    addSigningTime: 1,
    otherAuthAttributes: [],
  }),
);

export function fileToSend(name: string, contentType: string, bytes: Buffer): FileToSend {
  return { name, contentType, sizeBytes: bytes.length, open: () => Readable.from([bytes]) };
}

export function picture(name: string, contentType: Picture["contentType"], bytes: Buffer): Picture {
  return { ...fileToSend(name, contentType, bytes), contentType };
}

export const CREATION: RequestCreation = {
  signer: {
    ...SIGNER,
    given_name: "Anacanary",
    surname_1: "Lopezcanary",
    serial_number: "A9999999E-canary",
    id_document_type: "IDC",
    id_document_country: "ES",
  },
  documents: {
    document_front: picture("front Anacanary.jpg", "image/jpeg", JPEG),
    document_rear: picture("rear Anacanary.png", "image/png", PNG),
  },
  asynchronous: { callback: "https://example.com/webhooks/oneshot/callback-canary" },
};

export const EVIDENCES: Evidences = {
  acceptance: { description: "terms accepted", ip: "203.0.113.7", "user-agent": "Mozilla/5.0", date: 1622823879708 },
  videoid_data: {
    images: {
      document_front: picture("front Anacanary.jpg", "image/jpeg", JPEG),
      document_owner: picture("selfie Anacanary.png", "image/png", PNG),
    },
    ocr_data: { given_name: "Anacanary", surname_1: "Lopezcanary", serial_number: "A9999999E-canary" },
    security_checks: { liveliness: true, documents_match: true },
    similarity_level: "high",
  },
};

/** The calls beyond a video identification and its signing, with something secret in each that takes it. */
export const MORE_CALLS = {
  createRequest: (p: Provider) => p.createRequest(CREATION, ACCOUNT),
  uploadEvidences: (p: Provider) => p.uploadEvidences(VIDEOID, EVIDENCES),
  uploadVideo: (p: Provider) => p.uploadVideo(VIDEOID, fileToSend("Anacanary.mp4", "video/mp4", MP4)),
  downloadVideo: async (p: Provider) => buffer((await p.downloadVideo(VIDEOID)).body),
  uploadHashes: (p: Provider) =>
    p.upload(PK, [
      { name: "Anacanary.pdf", sizeBytes: PDF.length, open: () => Readable.from([PDF]) },
      { name: "Anacanary.json", sizeBytes: HASH.length, kind: "hash", open: () => Readable.from([HASH]) },
    ]),
  signedHash: async (p: Provider) => buffer((await p.signedDocument(PK, UID, { kind: "hash" })).body),
  originalHash: async (p: Provider) => buffer((await p.originalDocument(PK, UID, { kind: "hash" })).body),
  otpByWhatsapp: (p: Provider) => p.otp(PK, { deliveryMethod: "whatsapp" }),
  createToken: (p: Provider) =>
    p.createToken({ username: "9001800-canary", password: "token-password-canary", pin: "token-pin-canary" }, {}),
  getToken: (p: Provider) => p.getToken(TOKEN),
  deleteToken: (p: Provider) => p.deleteToken(TOKEN),
  listTokens: (p: Provider) => p.listTokens(),
  uploadImage: (p: Provider) => p.uploadImage(picture("Anacanary.png", "image/png", PNG) as PngFile),
  getImage: async (p: Provider) => buffer((await p.getImage(IMAGE)).body),
  deleteImage: (p: Provider) => p.deleteImage(IMAGE),
  deleteImages: (p: Provider) => p.deleteImages(),
  listImages: (p: Provider) => p.listImages(),
} as const satisfies Record<string, (provider: Provider) => Promise<unknown>>;

type PngFile = Parameters<Provider["uploadImage"]>[0];
