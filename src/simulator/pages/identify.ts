import type { Status } from "../states.ts";
import { mayMove } from "../states.ts";
import type { Request } from "../store.ts";
import { chip } from "./overview.ts";
import { html, page } from "./html.ts";
import type { Html } from "./html.ts";

const SAYS: Record<Status, [title: string, text: string]> = {
  VIDEOPENDING: [
    "Confirm who you are",
    "Here the signer would show an identity document and their face to the camera. Play the signer: choose how it ends.",
  ],
  VIDEOINCOMPLETE: ["Not finished yet", "The identification was left unfinished. It can be taken up again."],
  VIDEOREVIEW: [
    "Thank you, that was all",
    "The identification is complete. A registration officer now looks at it. You can close this page.",
  ],
  VIDEOERROR: ["That did not work", "The identification failed. You can close this page."],
  CREATED: [
    "Thank you, that was all",
    "The identification has been checked and waits for its approval. You can close this page.",
  ],
  ENROLLREADY: [
    "You have been identified",
    "Your identification was approved. You will be asked for the code sent to your phone when you sign.",
  ],
  ISSUED: ["Signed", "The documents of this request carry their signatures."],
  CANCELLED: ["This request has ended", "It was refused or cancelled; there is nothing left to do here."],
};

const choice = (outcome: string, label: string, kind: string): Html =>
  html`<button name="outcome" value="${outcome}" class="${kind}">${label}</button>`;

/** The page of a link that has grown too old. */
export const expiredPage = (): string =>
  page({
    title: "This link has expired",
    body: html`<h1>This link has expired</h1>
      <p class="faint">The identification was not begun in time. Ask whoever sent you the link for a new one.</p>`,
    narrow: true,
  });

/** The page at `videoid_link`, on which a person plays the signer. */
export function identifyPage(request: Request): string {
  const [title, text] = SAYS[request.status];
  const open = mayMove(request.status, "complete");
  const form = html`<form method="post">
    <details>
      <summary>Name on the identity document</summary>
      <label>Given name <input name="given_name" autocomplete="off" maxlength="60" /></label>
      <label>Surname <input name="surname_1" autocomplete="off" maxlength="60" /></label>
      <label>Second surname <input name="surname_2" autocomplete="off" maxlength="60" /></label>
      <label>Number of the document <input name="serial_number" autocomplete="off" maxlength="40" /></label>
    </details>
    ${choice("complete", "Complete the identification", "main")}
    ${mayMove(request.status, "leave") && choice("incomplete", "Leave it unfinished", "")}
    ${choice("fail", "Let it fail", "danger")}
  </form>`;
  const body = html`<h1>${title}</h1>
    <p class="faint">${text}</p>
    <section class="card">
      <dl>
        <dt>Request</dt>
        <dd>${request.pk}</dd>
        <dt>Video identification</dt>
        <dd>${request.videoidPk ?? "–"}</dd>
        <dt>State</dt>
        <dd>${chip(request.status)}</dd>
      </dl>
    </section>
    ${open && html`<section class="card">${form}</section>`}`;
  return page({ title, body, narrow: true });
}
