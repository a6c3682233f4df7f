/**
 * How a signer comes to be identified, in the provider's words. videoid: on video, at the provider's link.
 * videoid-external: by the caller, who hands over the evidence and the video. classic: by the caller, face to face or
 * otherwise; the request is created and approved in one call.
 * @source docs/provider.md §Workflows
 */
export const WORKFLOWS = ["videoid", "videoid-external", "classic"] as const;
export type Workflow = (typeof WORKFLOWS)[number];

/** The stages that a request of this workflow goes through, in order. */
export type OrderOf = (workflow: Workflow) => readonly string[];
