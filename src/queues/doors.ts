import { isTold } from "../core/notification.ts";
import { type Door, doorOf, type SignRequest } from "../core/request.ts";

/** Which doors want to hear of a change: the inbox and batches show every step; callbacks and results tell waits and ends only. */
export function wantsToKnow(
  request: SignRequest,
  event: string,
  isFollowed: (request: SignRequest) => boolean,
): (Door | "callback")[] {
  if (event === "start" || event === "intend") return [];
  const { source, facts } = request;
  const wants: (Door | "callback")[] = [];
  if (source === "inbox" || source === "batch") wants.push(doorOf(request));
  if (!isTold(request)) return wants;
  if (source === "intake") wants.push("intake");
  if (facts["callbackUrl"] || isFollowed(request)) wants.push("callback");
  return wants;
}
