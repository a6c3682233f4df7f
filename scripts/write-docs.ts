import { readFileSync, writeFileSync } from "node:fs";
import { DOCUMENTS } from "../test/helpers/generated-docs.ts";

/** Writes the documents that are made from the code. `npm run check` fails when they are not up to date. */
for (const { path, write } of DOCUMENTS) {
  const url = new URL(`../${path}`, import.meta.url);
  const text = write();
  let old = "";
  try {
    old = readFileSync(url, "utf8");
  } catch {
    // not there yet
  }
  if (old !== text) {
    writeFileSync(url, text);
    process.stderr.write(`${path} written\n`);
  }
}
