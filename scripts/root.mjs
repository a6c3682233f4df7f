import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

/** Folder of the project, absolute. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
