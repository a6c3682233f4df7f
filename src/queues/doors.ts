import { isTold } from "../core/notification.ts";
import type { SignRequest, Source } from "../core/request.ts";

type Door = Extract<Source, "inbox" | "intake"> | "callback";

/** Which doors want to hear of a change: the inbox shows every step; callbacks and results tell waits and ends only. */
export function wantsToKnow(
  request: SignRequest,
  event: string,
  isFollowed: (request: SignRequest) => boolean,
): Door[] {
  if (event === "start" || event === "intend") return [];
  const { source, facts } = request;
  const wants: Door[] = [];
  if (source === "inbox") wants.push("inbox");
  if (!isTold(request)) return wants;
  if (source === "intake") wants.push("intake");
  if (facts["callbackUrl"] || isFollowed(request)) wants.push("callback");
  return wants;
}
