import { numberOrText, objectBody, textOf } from "../bodies.ts";
import type { Body } from "../bodies.ts";
import type { Context } from "../context.ts";
import { Refusal } from "../envelopes.ts";
import { isZone, linesFrom, nested, pageFrom, pictureFrom, rectFrom } from "./appearance-body.ts";
import type { Appearance } from "./appearance.ts";
import { octets, oid, sequence, setOf } from "./der.ts";
import type { SignOrder } from "./sign-request.ts";

type Format = Pick<Appearance, "text" | "date" | "timezone">;

/** The words of a visible signature. A zone that does not exist, as in a published sample, counts as none. */
function formatFrom(format: Body | undefined, withText: boolean): Format {
  if (!withText) return { text: [] };
  if (!format) return {};
  const text = linesFrom(format["text_format"]);
  const [date, timezone] = ["date_format", "timezone"].map((key) => textOf(format, key));
  return {
    ...(text && { text }),
    ...(date !== undefined && { date }),
    ...(timezone !== undefined && isZone(timezone) && { timezone }),
  };
}

function placeFrom(block: Body, of: string): Pick<Appearance, "rect" | "page"> {
  const [position, page] = [textOf(block, "position"), numberOrText(block, "page")];
  const missing = position === undefined ? "position" : "page";
  if (position === undefined || page === undefined)
    throw new Refusal(400, { [of]: `Missing required parameter '${missing}' for file ${of}` });
  return { rect: rectFrom(position), page: pageFrom(Number(page)) ?? 0 };
}

async function optionFrom(context: Context, uid: string, block: Body, format: Format): Promise<Appearance> {
  const image = textOf(block, "image");
  const picture = image === undefined ? {} : { picture: await pictureFrom(context, image, [uid]) };
  return { ...placeFrom(block, uid), ...format, ...picture };
}

/** Documents that are not where the request's are. @source docs/provider.md §Sign */
export const lostDocuments = (uids: string[]): Refusal =>
  new Refusal(404, `The following documents are not found in Request's folders: ${uids.join(", ")}`);

/** Who signs after the signer, where a call names somebody. Throws Refusal for credentials that are not whole. */
export function counterFrom(body: Body, options: Map<string, Body>): SignOrder["counter"] {
  const asked = nested(body, "countersignature");
  if (!asked) return undefined;
  const [username, password, pin] = ["username", "password", "pin"].map((key) => textOf(asked, key));
  if (username === undefined || password === undefined || pin === undefined)
    throw new Refusal(403, "Invalid countersignature credentials");
  const uids = new Set([...options].flatMap(([uid, block]) => (block["usecountersignature"] === true ? [uid] : [])));
  if (asked["position"] === undefined) return { username, uids };
  const horizontal = asked["horizontal"] === true ? { horizontal: true } : {};
  const format = formatFrom(nested(asked, "signature_format"), true);
  return { username, uids, appearance: { ...placeFrom(asked, "countersignature"), ...format, ...horizontal } };
}

/** Stored metadata as a signed attribute of its own type. */
function attributesFrom({ store }: Context, body: Body): Buffer[] {
  const uid = textOf(body, "metadata");
  if (uid === undefined) return [];
  const found = store.metadata.get(uid);
  if (!found) throw new Refusal(404, "Metadata not found on disk");
  return [sequence(oid(found.oid), setOf(octets(Buffer.from(found.value, "base64"))))];
}

/**
 * What a sign call of the first generation asks for: a block per document, one format for all, a second signer,
 * metadata. Throws Refusal and SchemaViolation. @source docs/provider.md §Sources: first-generation reference
 */
export async function firstOrderFrom(context: Context, body: Body, documents: string[]): Promise<SignOrder> {
  const asked = nested(body, "options") ?? {};
  const options = new Map(Object.entries(asked).map(([uid, block]) => [uid, objectBody(block)]));
  const unknown = [...options.keys()].filter((uid) => !documents.includes(uid));
  if (unknown.length > 0) throw lostDocuments(unknown);
  const format = formatFrom(nested(body, "signature_format"), body["use_signature_text"] !== false);
  const appearances = new Map<string, Appearance>();
  for (const [uid, block] of options) {
    if (block["position"] !== undefined || block["page"] !== undefined || block["image"] !== undefined)
      appearances.set(uid, await optionFrom(context, uid, block, format));
  }
  const counter = counterFrom(body, options);
  const attributes = attributesFrom(context, body);
  return {
    appearanceOf: (uid) => appearances.get(uid),
    ...(counter && { counter }),
    ...(attributes.length > 0 && { attributes }),
  };
}
