import { readFileSync } from "node:fs";
import { inflateRawSync } from "node:zlib";

const words = readFileSync(new URL("../../src/queues/done-words.txt", import.meta.url));

/** What a string in Redis says: of a record that is done, what was packed, as whoever looks for secrets must see it. */
export function unpacked(key: string, value: string): string {
  const [head, packed] = value.split("|z1:");
  if (packed === undefined) return value;
  const id = key.slice(key.lastIndexOf(":") + 1);
  const dictionary = Buffer.concat([words, Buffer.from(id)]);
  return `${head}|${inflateRawSync(Buffer.from(packed.split(":")[1] ?? "", "base64"), { dictionary }).toString()}`;
}
