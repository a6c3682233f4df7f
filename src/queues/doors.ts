import { isTold } from "../core/notification.ts";
import type { SignRequest, Source } from "../core/request.ts";

type Door = Exclude<Source, "api"> | "callback";

/** Which doors want to hear of a change: the inbox and batches show every step; callbacks and results tell waits and ends only. */
export function wantsToKnow(
  request: SignRequest,
  event: string,
  isFollowed: (request: SignRequest) => boolean,
): Door[] {
  if (event === "start" || event === "intend") return [];
  const { source, facts } = request;
  const wants: Door[] = [];
  if (source === "inbox" || source === "batch") wants.push(source);
  if (!isTold(request)) return wants;
  if (source === "intake") wants.push("intake");
  if (facts["callbackUrl"] || isFollowed(request)) wants.push("callback");
  return wants;
}
