/**
 * The request_pk that a notification speaks of; undefined when it is not readable. Nothing else of it is used, because
 * nothing proves who sent it. Both published forms are read: `request` as an object with `pk`, and as the bare number.
 * @source docs/provider.md §Webhooks
 */
export function readNotification(body: Uint8Array): number | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    return undefined;
  }
  const request = own(value, "request");
  return toPk(typeof request === "object" ? own(request, "pk") : request);
}

function own(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, name))
    return undefined;
  return (value as Record<string, unknown>)[name];
}

/** Numbers, and the digits that some of the provider's messages have instead. */
function toPk(value: unknown): number | undefined {
  const number = typeof value === "string" && /^[1-9]\d{0,15}$/.test(value) ? Number(value) : value;
  return typeof number === "number" && Number.isSafeInteger(number) && number > 0 ? number : undefined;
}
