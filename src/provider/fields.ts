import { redact } from "./redact.ts";
import { type Body, toText } from "./wire.ts";

const MOST_FIELDS = 20;
const MOST_DEEP = 4;
const LONGEST_NAME = 80;
const LONGEST_SENTENCE = 120;
/** A name as the provider's fields have them, or several where fields are in fields. */
const NAME = /^[a-z][a-z0-9]*([_-][a-z0-9]+)*(\.[a-z][a-z0-9]*([_-][a-z0-9]+)*)*$/;
/** What stands between quotes is, as a rule, what was sent: "'ESX' is not a valid ISO 3166-1 alpha-2 country code". */
const QUOTED = /(?<!\w)(['"])(.{1,200}?)\1(?!\w)/gu;

type Found = [name: string, sentence: string];

/**
 * What is wrong with which field, from the forms in which validation fails: an object of arrays, also inside the text of
 * an error from further up; an array of {loc, msg}; "Invalid request fields: a, b". Without the values that were sent.
 * Undefined when the answer names no field.
 * @source docs/provider.md §Error bodies
 */
export function toFields(body: Body, secrets: readonly string[]): Readonly<Record<string, string>> | undefined {
  const text = toText(body);
  const found = [...(body.kind === "json" ? inJson(body.value) : []), ...inText(text)];
  const fields = new Map<string, string>();
  for (const [name, sentence] of found) {
    // A name that was sent as a value is a value.
    const isName = name.length <= LONGEST_NAME && NAME.test(name) && redact(name, secrets) === name;
    const said = redact(sentence.replaceAll(QUOTED, "[removed]"), secrets, { atMost: LONGEST_SENTENCE });
    if (isName && said !== "" && !fields.has(name) && fields.size < MOST_FIELDS) fields.set(name, said);
  }
  return fields.size === 0 ? undefined : Object.fromEntries(fields);
}

function inJson(value: unknown): Found[] {
  if (!isObject(value)) return [];
  const said = [value.details, value.detail, value.message, value.messsage, value.error].find(
    (one) => typeof one === "object" && one !== null,
  );
  return Array.isArray(said) ? said.flatMap(inViolation) : inObject(said, [], 0);
}

/** One of the framework's violations: {loc: ["body", "email"], msg, type}. */
function inViolation(item: unknown): Found[] {
  if (!isObject(item) || !Array.isArray(item.loc) || typeof item.msg !== "string") return [];
  const where = item.loc.filter((one) => typeof one === "string");
  const name = (where.length > 1 ? where.slice(1) : where).join(".");
  return [[name, item.msg]];
}

/** {"email": ["…"]}, {"email": [{"message": "…"}]}, and fields in fields. */
function inObject(value: unknown, path: readonly string[], depth: number): Found[] {
  if (!isObject(value) || depth > MOST_DEEP) return [];
  return Object.entries(value).flatMap(([key, one]): Found[] => {
    const name = [...path, key];
    if (!Array.isArray(one)) return inObject(one, name, depth + 1);
    const sentences = one.flatMap((item: unknown) => {
      const said = isObject(item) ? item.message : item;
      return typeof said === "string" ? [said] : [];
    });
    return sentences.length === 0 ? [] : [[name.join("."), sentences.join(" ")]];
  });
}

/** What an upstream error says inside the text. */
function inText(text: string): Found[] {
  const list = /invalid request fields: ([\w., -]{1,500})$/i.exec(text)?.[1];
  if (list !== undefined) return list.split(/[\s,]+/).map((name): Found => [name, "is missing or not valid"]);
  const at = text.indexOf("{");
  if (at < 0 || !text.endsWith("}")) return [];
  try {
    return inObject(JSON.parse(text.slice(at)), [], 0);
  } catch {
    return [];
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
