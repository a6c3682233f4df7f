import { fromText, type RawName, toText } from "./names.ts";
import type { Standing } from "./read-request.ts";
import { misplaced, type Reason, unknownFolder } from "./unusable.ts";

/** What a level of folders can say of the files below it, in the words of a manifest. */
export const ROUTE_WORDS = ["tenant", "rao", "profile", "workflow", "approval", "appearance"] as const;
export type RouteWord = (typeof ROUTE_WORDS)[number];
export const LEVELS_MOST = 6;
/** Folders of a route that are made, and tidied up in, at most. */
export const ROUTES_MOST = 1_000;

/** One level of folders: a word and what it may be, or one folder that is always called the same. */
export interface Level {
  word: RouteWord | undefined;
  /** The folders that there may be; any when undefined. */
  values: readonly string[] | undefined;
}

/** The folders that lead to where files are dropped in an inbox. */
export interface Route {
  levels: readonly Level[];
  /** Below the last level only folders are taken, each as one request or batch. */
  onlyFolders: boolean;
}

/** What a template says: its levels in order, and whether it ends in {batch}. Or what is wrong with it. Pure. */
export function readTemplate(
  template: string,
): { levels: ({ word: RouteWord } | { name: string })[]; onlyFolders: boolean } | { problem: string } {
  const parts = template.replace(/\/$/, "").split("/");
  const last = parts.at(-1);
  const isEndSaid = last === "{batch}" || last === "{batch?}";
  const levels: ({ word: RouteWord } | { name: string })[] = [];
  for (const part of isEndSaid ? parts.slice(0, -1) : parts) {
    const word = ROUTE_WORDS.find((one) => part === `{${one}}`);
    if (word !== undefined) {
      if (levels.some((level) => "word" in level && level.word === word)) return { problem: `has {${word}} twice` };
      levels.push({ word });
    } else if (/^[^{}\\.\0][^{}\\\0]{0,99}$/.test(part)) levels.push({ name: part });
    else {
      const words = [...ROUTE_WORDS.map((one) => `{${one}}`), "names of folders"].join(", ");
      return {
        problem: `must be folders with / between them, of ${words}, and {batch} or {batch?} at most at its end`,
      };
    }
  }
  if (levels.length === 0) return { problem: "has no folder above {batch}" };
  if (levels.length > LEVELS_MOST) return { problem: `has more than ${LEVELS_MOST} folders one in the other` };
  return { levels, onlyFolders: last === "{batch}" };
}

/** Which of a level's folders this is, as it stands in the configuration; undefined when none of them. */
export function valueOf({ values }: Level, raw: RawName): string | undefined {
  const text = toText(raw);
  if (values === undefined) return fromText(text) === raw ? text : undefined;
  return values.find((one) => one === text) ?? values.find((one) => plain(one) === plain(text));
}

/** What the folders that lead to a file say of it, over what holds for the whole inbox. Undefined off the route. Pure. */
export function standingOn({ levels }: Route, folder: RawName, standing: Standing): Standing | undefined {
  const parts = folder === "" ? [] : folder.split("/");
  if (parts.length !== levels.length) return undefined;
  const told: Partial<Record<RouteWord, string>> = {};
  for (const [i, level] of levels.entries()) {
    const value = valueOf(level, parts[i] ?? "");
    if (value === undefined) return undefined;
    if (level.word !== undefined) told[level.word] = value;
  }
  const { tenant, appearance, ...fields } = told;
  const { signature } = standing.defaults ?? {};
  const own = appearance === undefined ? {} : { signature: { ...(signature as object | undefined), appearance } };
  return {
    defaults: { ...standing.defaults, ...fields, ...own },
    tenant: tenant ?? standing.tenant,
    fixed: { ...fields, ...(appearance !== undefined && { appearance }) },
  };
}

/** What is the matter with an entry that lies above the last level and is no folder of the route; with `depth` levels above it. */
export function astray(route: Route, raw: RawName, { depth, isFolder }: { depth: number; isFolder: boolean }): Reason {
  const level = route.levels[depth];
  if (level && isFolder) return unknownFolder(raw, { word: level.word, known: level.values ?? [] });
  return misplaced(templateOf(route));
}

/** The template, for people. */
export function templateOf({ levels, onlyFolders }: Route): string {
  const parts = levels.map(({ word, values }) => (word === undefined ? (values?.[0] ?? "") : `{${word}}`));
  return `${[...parts, ...(onlyFolders ? ["{batch}"] : [])].join("/")}/`;
}

/** Every folder of the route, the outer ones first; those of a level whose folders are not known are left out. Bounded. */
export function foldersOfRoute({ levels }: Route, most: number): string[] {
  const found: string[] = [];
  let above = [""];
  for (const { values } of levels) {
    if (values === undefined) break;
    above = above.flatMap((folder) => values.map((value) => (folder === "" ? value : `${folder}/${value}`)));
    if (found.length + above.length > most) break;
    found.push(...above);
  }
  return found;
}

/** Names that look the same, and those that differ in capitals alone, which many shares do not tell apart. */
function plain(text: string): string {
  return text.normalize("NFC").toLowerCase();
}
