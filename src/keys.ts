import { createHmac, randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ConfigError, type Settings } from "./config.ts";

export interface ApiKey {
  name: string;
  secret: string;
  /** The only one whose requests it opens. */
  tenant?: string;
}

/** The keys of a deployment, and which of them were made here. */
export interface KeyRing {
  apiKeys: ApiKey[];
  webhookSecret: string;
  masterKey: Uint8Array;
  /** Files that keep what was not given. */
  keptIn: string[];
}

/** 128 random bits need this many characters of Base64. @source OWASP ASVS 5.0 §11.5.1 */
const SECRET_LEAST = 22;
/** In DATA_DIR, but not among the keys: it is there, too, when a folder comes back from a backup without its keys. */
const PRINT = "master-key.print";

/**
 * The keys from the settings; those that are not given are made once and kept in DATA_DIR/keys, readable by the owner
 * alone. Without `forApi` only the master key: whoever serves no API neither knows its keys nor makes any up, which
 * would pass for those of the API elsewhere. Throws ConfigError for one that cannot be used, and for a master key that is
 * not the one this DATA_DIR was used with: requests would be turned away one by one, and new ones mixed among them.
 */
export function readKeys(settings: Settings, { forApi = true } = {}): KeyRing {
  const folder = join(settings.DATA_DIR, "keys");
  const keptIn: string[] = [];
  const find = (name: string, given: string | undefined, file: string, make: () => string): Found => {
    if (given !== undefined) return { text: given, from: name };
    const from = join(folder, file);
    keptIn.push(from);
    return { text: keep(folder, file, make), from, isKept: true };
  };

  const apiKeys = forApi ? readApiKeys(find("API_KEYS", settings.API_KEYS, "api-keys", () => `admin:${secret()}`)) : [];
  const webhookSecret = forApi
    ? toWebhookSecret(find("WEBHOOK_SECRET", settings.WEBHOOK_SECRET, "webhook-secret", secret))
    : "";
  if (findMasterKey(settings) === undefined && existsSync(join(settings.DATA_DIR, PRINT))) {
    throw new ConfigError(
      `MASTER_KEY is not set, and ${join(folder, "master-key")} is gone: ${settings.DATA_DIR} was used with a master key. ${BRING_BACK}`,
    );
  }
  const masterKey = toMasterKey(
    find("MASTER_KEY", settings.MASTER_KEY, "master-key", () => randomBytes(32).toString("base64")),
  );
  mustFit(
    masterKey,
    keep(settings.DATA_DIR, PRINT, () => printOf(masterKey)),
    settings,
  );
  return { apiKeys, webhookSecret, masterKey, keptIn };
}

/** A key, and the setting or the file that it comes from. */
interface Found {
  text: string;
  from: string;
  isKept?: boolean;
}

/**
 * The master key that there is, for commands that make none. Throws ConfigError for one that cannot be used, or is not
 * the one of this DATA_DIR.
 */
export function findMasterKey(settings: Settings): Uint8Array | undefined {
  const path = join(settings.DATA_DIR, "keys", "master-key");
  const found: Found | undefined =
    settings.MASTER_KEY !== undefined
      ? { text: settings.MASTER_KEY, from: "MASTER_KEY" }
      : existsSync(path)
        ? { text: readKept(path), from: path, isKept: true }
        : undefined;
  if (found === undefined) return undefined;
  const key = toMasterKey(found);
  const print = join(settings.DATA_DIR, PRINT);
  if (existsSync(print)) mustFit(key, readKept(print), settings);
  return key;
}

const BRING_BACK =
  "Bring that one back; if it is lost for good, go on with a new DATA_DIR and a new REDIS_PREFIX (docs/operations.md, Backup and restore).";

function toMasterKey({ text, from, isKept = false }: Found): Uint8Array {
  const key = Buffer.from(text, "base64");
  if (key.length === 32) return key;
  // Never a new key for a folder that has one: everything under the old one would be lost.
  const remedy = isKept ? "bring it back from your copy of the master key" : "make one with: openssl rand -base64 32";
  throw new ConfigError(`${from} is not the Base64 of 32 bytes; ${remedy}`);
}

/** Tells one master key from another, and nothing else about it. */
function printOf(masterKey: Uint8Array): string {
  return createHmac("sha256", masterKey).update("print").digest("base64url").slice(0, SECRET_LEAST);
}

function mustFit(masterKey: Uint8Array, print: string, { DATA_DIR }: Settings): void {
  if (printOf(masterKey) === print) return;
  throw new ConfigError(
    `${DATA_DIR} was used with another MASTER_KEY: under this one nobody can read who signs there, nor trust its journal. ${BRING_BACK}`,
  );
}

function toWebhookSecret({ text, from, isKept = false }: Found): string {
  if (/^[A-Za-z0-9_.~-]+$/.test(text) && text.length >= SECRET_LEAST) return text;
  const remedy = isKept ? " Remove the file to have a new one made, and register that at the provider." : "";
  throw new ConfigError(
    `${from} needs at least ${SECRET_LEAST} letters, digits or "-_.~": it is the only thing that guards the webhook's path.${remedy}`,
  );
}

/** A key for one purpose, from the master key. */
export function deriveKey(
  masterKey: Uint8Array,
  purpose: "journal" | "callbacks" | `callbacks:${string}` | "intake" | "batches",
): Buffer {
  return createHmac("sha256", masterKey).update(purpose).digest();
}

function secret(): string {
  return randomBytes(24).toString("base64url");
}

/** name:secret pairs, or name@tenant:secret, separated by commas or lines. */
export function readApiKeys({ text, from, isKept = false }: Found): ApiKey[] {
  const remedy = isKept ? " Correct the file, or remove it to have a new one made." : "";
  const keys = text
    .split(/[,\n]/)
    .map((pair) => pair.trim())
    .filter((pair) => pair !== "")
    .map((pair, i) => {
      const [, name, tenant, value] = /^([A-Za-z0-9_.-]{1,40}(?:@([a-z][a-z0-9-]{0,39}))?):(\S{8,})$/.exec(pair) ?? [];
      if (!name || !value) {
        throw new ConfigError(
          `${from}: pair ${i + 1} is not name:secret, or name@tenant:secret, with a secret of 8 characters or more.${remedy}`,
        );
      }
      return { name, secret: value, ...(tenant !== undefined && { tenant }) };
    });
  if (keys.length === 0) throw new ConfigError(`${from} is empty; give at least one name:secret pair.${remedy}`);
  return keys;
}

/**
 * What is kept under this name, made and put there when nothing is. Written apart, brought to the disk and linked:
 * several processes may start on a new folder at once, and requests that are accepted the next moment need the very key
 * after a power cut.
 */
function keep(folder: string, name: string, make: () => string): string {
  const path = join(folder, name);
  const fresh = join(folder, `.${name}.${randomBytes(6).toString("hex")}`);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!existsSync(path)) {
      writeFileSync(fresh, `${make()}\n`, { mode: 0o600, flag: "wx", flush: true });
      linkSync(fresh, path);
      flushFolder(folder);
    }
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST") {
      const remedy = {
        ENOSPC: "make room on its disk",
        EDQUOT: "make room on its disk",
        EROFS: "its disk is read-only",
      };
      const todo = remedy[code as keyof typeof remedy] ?? "give DATA_DIR a folder of your own";
      throw new ConfigError(`${path} cannot be written (${code}): ${todo}.`);
    }
  } finally {
    rmSync(fresh, { force: true });
  }
  return readKept(path);
}

function readKept(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    throw new ConfigError(`${path} cannot be read (${code}): let the user under whom signpipe runs read it.`);
  }
}

function flushFolder(folder: string): void {
  const handle = openSync(folder, "r");
  fsyncSync(handle);
  closeSync(handle);
}
