/** A value as JSON with the fields of every object in alphabetical order, which says nothing. @source RFC 8259 §4 */
export function inSameOrder(value: unknown): string {
  return JSON.stringify(value, (_, one: unknown) => {
    if (typeof one !== "object" || one === null || Array.isArray(one)) return one;
    return Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
