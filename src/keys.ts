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

/**
 * The keys from the settings; those that are not given are made once and kept in DATA_DIR/keys, readable by the owner
 * alone. Without `forApi` only the master key: whoever serves no API neither knows its keys nor makes any up, which
 * would pass for those of the API elsewhere. Throws ConfigError for one that cannot be used.
 */
export function readKeys(settings: Settings, { forApi = true } = {}): KeyRing {
  const folder = join(settings.DATA_DIR, "keys");
  const keptIn: string[] = [];
  const kept = (name: string, make: () => string) => {
    keptIn.push(join(folder, name));
    return keep(folder, name, make);
  };

  const apiKeys = forApi ? readApiKeys(settings.API_KEYS ?? kept("api-keys", () => `admin:${secret()}`)) : [];
  const webhookSecret = forApi ? (settings.WEBHOOK_SECRET ?? kept("webhook-secret", secret)) : "";
  if (forApi && (!/^[A-Za-z0-9_.~-]+$/.test(webhookSecret) || webhookSecret.length < SECRET_LEAST)) {
    throw new ConfigError(
      `WEBHOOK_SECRET needs at least ${SECRET_LEAST} letters, digits or "-_.~": it is the only thing that guards the webhook's path.`,
    );
  }
  const master = settings.MASTER_KEY ?? kept("master-key", () => randomBytes(32).toString("base64"));
  return { apiKeys, webhookSecret, masterKey: toMasterKey(master), keptIn };
}

/** The master key that there is, for commands that make none. Throws ConfigError for one that cannot be used. */
export function findMasterKey(settings: Settings): Uint8Array | undefined {
  const path = join(settings.DATA_DIR, "keys", "master-key");
  const text = settings.MASTER_KEY ?? (existsSync(path) ? readFileSync(path, "utf8") : undefined);
  return text === undefined ? undefined : toMasterKey(text);
}

function toMasterKey(text: string): Uint8Array {
  const key = Buffer.from(text, "base64");
  if (key.length === 32) return key;
  throw new ConfigError("MASTER_KEY is not the Base64 of 32 bytes; make one with: openssl rand -base64 32");
}

/** A key for one purpose, from the master key. */
export function deriveKey(masterKey: Uint8Array, purpose: "journal" | "callbacks"): Buffer {
  return createHmac("sha256", masterKey).update(purpose).digest();
}

function secret(): string {
  return randomBytes(24).toString("base64url");
}

/** name:secret pairs, separated by commas or lines. */
export function readApiKeys(text: string): ApiKey[] {
  const keys = text
    .split(/[,\n]/)
    .map((pair) => pair.trim())
    .filter((pair) => pair !== "")
    .map((pair, i) => {
      const [, name, value] = /^([A-Za-z0-9_.-]{1,40}):(\S{8,})$/.exec(pair) ?? [];
      if (!name || !value) {
        throw new ConfigError(`API_KEYS: pair ${i + 1} is not name:secret with a secret of 8 characters or more.`);
      }
      return { name, secret: value };
    });
  if (keys.length === 0) throw new ConfigError("API_KEYS is empty; give at least one name:secret pair.");
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
  return readFileSync(path, "utf8").trim();
}

function flushFolder(folder: string): void {
  const handle = openSync(folder, "r");
  fsyncSync(handle);
  closeSync(handle);
}
