import type { Request } from "../store.ts";

/** Whether an officer, or an operator, has something to decide. */
export const awaitsOfficer = ({ status, videoidPk }: Request): boolean =>
  videoidPk !== undefined && (status === "VIDEOREVIEW" || status === "CREATED");
