import { PermanentError } from "../core/errors.ts";

/**
 * Every call the client can make. One table, so that a path is written once.
 * @source docs/provider.md §Endpoints
 */
export const CALLS = {
  createVideoId: { method: "POST", path: "/videoid" },
  approve: { method: "POST", path: "/videoid/{videoid_pk}/approve" },
  refuse: { method: "POST", path: "/videoid/{videoid_pk}/refuse" },
  createRequest: { method: "POST", path: "/create" },
  uploadEvidences: { method: "POST", path: "/videoid/{videoid_pk}/evidences" },
  uploadVideo: { method: "POST", path: "/videoid/{videoid_pk}/video" },
  videoByReference: { method: "GET", path: "/videoid/{videoid_pk}/video" },
  videoByFirst: { method: "GET", path: "/videoid/{videoid_pk}/download/video" },
  getRequest: { method: "GET", path: "/request/{request_pk}" },
  updateRequest: { method: "PUT", path: "/request/{request_pk}" },
  cancel: { method: "DELETE", path: "/request/{request_pk}" },
  upload: { method: "POST", path: "/document/{request_pk}" },
  deleteDocuments: { method: "DELETE", path: "/document/{request_pk}" },
  deleteDocument: { method: "DELETE", path: "/document/{request_pk}/{document_uid}" },
  signedBySeed: { method: "GET", path: "/document/{request_pk}/signed/{document_uid}" },
  signedByReference: { method: "GET", path: "/document/{request_pk}/{document_uid}?document_type=signed" },
  originalBySeed: { method: "GET", path: "/document/{request_pk}/original/{document_uid}" },
  originalByReference: { method: "GET", path: "/document/{request_pk}/{document_uid}?document_type=original" },
  contract: { method: "GET", path: "/contract/{request_pk}" },
  otp: { method: "POST", path: "/otp/{request_pk}" },
  sign: { method: "POST", path: "/sign/{request_pk}" },
  createToken: { method: "POST", path: "/token" },
  getToken: { method: "GET", path: "/token/{token_uid}" },
  deleteToken: { method: "DELETE", path: "/token/{token_uid}" },
  listTokens: { method: "GET", path: "/tokens" },
  uploadImage: { method: "POST", path: "/image" },
  getImage: { method: "GET", path: "/image/{image_uid}" },
  deleteImage: { method: "DELETE", path: "/image/{image_uid}" },
  listImages: { method: "GET", path: "/images" },
  deleteImages: { method: "DELETE", path: "/images" },
} as const satisfies Record<string, { method: "GET" | "POST" | "PUT" | "DELETE"; path: `/${string}` }>;
export type CallName = keyof typeof CALLS;

/** The provider's identifiers that stand in a path. */
export interface PathIds {
  request_pk?: number;
  videoid_pk?: number;
  document_uid?: string;
  token_uid?: string;
  image_uid?: string;
}

/** "POST /otp/{request_pk}": how a call is named in errors and logs, without the identifiers. */
export function nameOf(call: CallName): string {
  return `${CALLS[call].method} ${CALLS[call].path}`;
}

/** Whether the call changes something at the provider, so that silence leaves us not knowing. */
export function hasEffect(call: CallName): boolean {
  return CALLS[call].method !== "GET";
}

/** The path of `call` for these identifiers. Throws PermanentError "invalid-input" for one that cannot stand in a path. */
export function pathOf(call: CallName, ids: PathIds = {}): string {
  return CALLS[call].path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const id = ids[name as keyof PathIds];
    const usable = typeof id === "number" ? Number.isSafeInteger(id) && id >= 0 : !!id && !/^\.+$/.test(id);
    if (!usable) throw new PermanentError(`${nameOf(call)} needs a valid ${name}.`, { code: "invalid-input" });
    return encodeURIComponent(id as string | number);
  });
}
