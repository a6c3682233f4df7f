/** What can be an id of the feed. */
export function isFeedId(text: string): boolean {
  return /^\d{1,15}-\d{1,10}$/.test(text);
}

/** Whether one id of the feed is after another. */
export function isLater(id: string, than: string): boolean {
  const [aMs = 0, aN = 0] = id.split("-").map(Number);
  const [bMs = 0, bN = 0] = than.split("-").map(Number);
  return aMs > bMs || (aMs === bMs && aN > bN);
}
