/** Parts of a media range or type: "text", "html" of "text/html; charset=utf-8". */
function halves(range: string): [string, string] {
  const [type = "", subtype = ""] = (range.split(";", 1)[0] ?? "").trim().toLowerCase().split("/");
  return [type, subtype];
}

/** Whether a range of an Accept header is one that is wanted at all. */
function isWanted(range: string): boolean {
  const weight = /;\s*q\s*=\s*([\d.]+)/i.exec(range)?.[1];
  return weight === undefined || Number(weight) > 0;
}

/**
 * Whether a client takes one of the types that an answer may have; without an Accept header it takes all.
 * @source RFC 9110 §12.5.1
 */
export function isAcceptable(accept: string | undefined, types: readonly string[]): boolean {
  const ranges = (accept ?? "").split(",").filter((range) => range.trim() !== "" && isWanted(range));
  if (accept === undefined || accept.trim() === "") return true;
  return ranges.map(halves).some(([type, subtype]) =>
    types.map(halves).some(([ownType, ownSubtype]) => {
      if (type === "*") return true;
      return type === ownType && (subtype === "*" || subtype === ownSubtype);
    }),
  );
}
