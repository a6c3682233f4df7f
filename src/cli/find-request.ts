import type { Client } from "./client.ts";
import { CliError, visible } from "./terminal.ts";

const WHOLE = /^req-[0-9a-z]{26}$/;
/** A short id is looked for among so many of the newest requests. */
const PAGES = 10;
const PAGE_SIZE = "200";

/**
 * The whole id for what a person typed: an id, its beginning (with or without "req-"), or a caller's own reference.
 * Throws CliError when none or several fit.
 */
export async function findRequest(client: Pick<Client, "page">, typed: string): Promise<string> {
  const text = typed.trim();
  if (WHOLE.test(text)) return text;
  if (text === "" || text.length > 200) return only(text, []);
  const byReference = (await client.page({ reference: text, limit: "2" })).items.map(({ id }) => id);
  if (byReference.length > 0) return only(text, byReference);
  const prefix = text.startsWith("req-") ? text : `req-${text}`;
  const found: string[] = [];
  let cursor: string | undefined;
  for (let i = 0; i < PAGES; i++) {
    const page = await client.page({ limit: PAGE_SIZE, cursor });
    found.push(...page.items.map(({ id }) => id).filter((id) => id.startsWith(prefix)));
    cursor = page.next_cursor ?? undefined;
    if (cursor === undefined) break;
  }
  return only(text, found);
}

function only(text: string, found: string[]): string {
  const [first, second] = found;
  if (first === undefined) {
    throw new CliError(`No request has the id or reference "${visible(text).slice(0, 60)}": see "signpipe list".`);
  }
  if (second === undefined) return first;
  throw new CliError(
    `"${visible(text)}" fits more than one request, such as ${first} and ${second}: give more of the id.`,
  );
}
