import type { Credentials } from "./guard.ts";
import { type Part, toForm } from "./multipart.ts";
import type { Account, Evidences, Rao, RequestCreation } from "./provider.ts";
import { type FileToSend, type Piece, stream, type Streamed } from "./sending.ts";

/** A body to send, and everything secret or personal in it. */
interface Sent {
  stream: Streamed;
  secrets: string[];
}

/** The two forms that Approve and Refuse take, without the RAO's number. @source docs/provider.md §Approve, §Tokens */
export function toLogin(rao: Rao): Record<string, string | undefined> {
  const { password, pin } = rao;
  return "token" in rao ? { token: rao.token, password, pin } : { username: rao.username, password, pin };
}

export function secretsOf(rao: Rao): string[] {
  return given(Object.values(toLogin(rao)));
}

/** The lane of a RAO is the same for every call that carries them, whether it names their number or not. */
export function officerOf(rao: Rao): Credentials {
  return { lane: "rao", secrets: [rao.rao, ...secretsOf(rao)] };
}

/** What goes with a creation of either kind. The password travels in Base64. @source docs/provider.md §Account */
export function toBilling({ billingUsername, billingPassword, ...account }: Account) {
  const inBase64 = billingPassword && Buffer.from(billingPassword, "utf8").toString("base64");
  return {
    values: {
      registration_authority: account.registrationAuthority,
      profile: account.profile,
      billing_username: billingUsername,
      billing_password: inBase64,
      env: account.env,
    },
    secrets: given([billingUsername, billingPassword, inBase64]),
    credentials: { lane: "billing", secrets: [billingUsername ?? "", billingPassword ?? ""] } satisfies Credentials,
  };
}

/** The form of Create. @source docs/provider.md §Create */
export function toCreation({ signer, documents, asynchronous }: RequestCreation, account: Account): Sent {
  const { id_document_type, id_document_country, communication_language, ...person } = signer;
  const billing = toBilling(account);
  const values: Record<string, string | undefined> = {
    ...person,
    id_document_type,
    id_document_country,
    communication_language,
    ...billing.values,
    ...toLogin(account.rao),
    ...(asynchronous && { useasync: "true", callback: asynchronous.callback }),
  };
  const { document_front, document_rear, document_owner, extra_document } = documents;
  const files: Record<string, FileToSend | undefined> = {
    document_front,
    document_rear,
    document_owner,
    extra_document,
  };
  const parts: Part[] = [
    ...Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }])),
    ...Object.entries(files).flatMap(([name, file]) => (file === undefined ? [] : [{ name, file }])),
  ];
  return {
    stream: toForm("createRequest", parts),
    secrets: given([
      ...Object.values(person),
      ...billing.secrets,
      ...secretsOf(account.rao),
      // The way to us ends with a secret.
      asynchronous?.callback,
      asynchronous?.callback?.split("/").at(-1),
      ...namesOf(files),
    ]),
  };
}

/** The JSON of Evidences, whose pictures become Base64 while they are read. @source docs/provider.md §Evidences */
export function toEvidences({ acceptance, videoid_data }: Evidences): Sent {
  const { images, ...data } = videoid_data;
  const { document_front, document_rear, document_photo, document_owner } = images;
  const files: Record<string, FileToSend | undefined> = {
    document_front,
    document_rear,
    document_photo,
    document_owner,
  };
  const pictures = Object.entries(files).flatMap(([name, file]) => (file === undefined ? [] : [{ name, file }]));
  const rest = JSON.stringify(data).slice(1, -1);
  const pieces: Piece[] = [
    Buffer.from(`{${acceptance ? `"acceptance":${JSON.stringify(acceptance)},` : ""}"videoid_data":{"images":{`),
    ...pictures.flatMap(({ name, file }, index): Piece[] => [
      Buffer.from(`${index === 0 ? "" : '",'}"${name}":"`),
      { file, as: "base64" },
    ]),
    Buffer.from(`${pictures.length === 0 ? "" : '"'}}${rest === "" ? "" : `,${rest}`}}}`),
  ];
  const said = Object.values(acceptance ?? {}).map((value) => (typeof value === "string" ? value : undefined));
  const { id_document_type: _type, id_document_country: _country, ...person } = data.ocr_data;
  return {
    stream: stream("uploadEvidences", "application/json", pieces),
    secrets: given([...said, ...Object.values(person), ...namesOf(files)]),
  };
}

/** A file's name is personal data often enough: "passport Ana Lopez.jpg". */
function namesOf(files: Record<string, FileToSend | undefined>): (string | undefined)[] {
  return Object.values(files).map((file) => file?.name);
}

function given(values: readonly (string | undefined)[]): string[] {
  return values.filter((value) => value !== undefined);
}
