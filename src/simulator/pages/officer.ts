import type { Context } from "../context.ts";
import { mayMove } from "../states.ts";
import type { Request } from "../store.ts";
import { signerName } from "../store.ts";
import { html, page } from "./html.ts";
import type { Html } from "./html.ts";
import { chip, nav, REFRESH_S } from "./overview.ts";
import { awaitsOfficer } from "./turns.ts";

const SHOWN = 50;

const LABELS: Record<string, string> = {
  document_front: "Document, front",
  document_rear: "Document, rear",
  document_photo: "Portrait on the document",
  document_owner: "The signer",
  extra_document: "More",
};

function pictures({ identityImages }: Request): Html | false {
  const shown = identityImages.filter(({ type }) => type.startsWith("image/"));
  return (
    shown.length > 0 &&
    html`<div class="pictures">
      ${shown.map(
        ({ uid, name }) =>
          html`<figure>
            <img src="/_sim/identity/${uid}" alt="${LABELS[name] ?? name}" loading="lazy" />
            <figcaption>${LABELS[name] ?? name}</figcaption>
          </figure>`,
      )}
    </div>`
  );
}

function fact(name: string, value: string | number | undefined): Html | undefined {
  return value === undefined
    ? undefined
    : html`<dt>${name}</dt>
        <dd>${value}</dd>`;
}

function decision(request: Request): Html {
  const { person, evidence, video, pk, videoidPk, videoidMode, status } = request;
  const number = person.serial_number;
  const kind = `${person.id_document_type ?? "IDC"} ${person.id_document_country ?? request.country}`;
  const facts = [
    fact("Request", pk),
    fact("Video identification", videoidPk),
    fact(kind, number),
    fact("Similarity", evidence?.similarity),
    fact("Video", video && `${Math.ceil(video.bytes / 1024)} KiB`),
  ].filter((one) => one !== undefined);
  const isFirst = videoidMode === 2 && mayMove(status, "validate");
  return html`<section class="card">
    <h2>${signerName(request)} ${chip(status)}</h2>
    <dl>${facts}</dl>
    ${pictures(request)}
    <form method="post" action="/_sim/officer/${pk}">
      ${
        isFirst
          ? html`<button name="decision" value="validate" class="main">Validate the identification</button>`
          : html`<button name="decision" value="approve" class="main">Approve</button>`
      }
      <details>
        <summary>Refuse</summary>
        <label>Reason <input name="reason" autocomplete="off" maxlength="200" placeholder="not readable" /></label>
        <button name="decision" value="refuse" class="danger">Refuse, and end the request</button>
      </details>
    </form>
  </section>`;
}

/** What waits for the provider's officer, who decides here as a call of the API would. */
export function officerPage(context: Context): string {
  const waiting = [...context.store.requests.values()].filter(awaitsOfficer);
  const body = html`${nav}
    <h1>Registration officer</h1>
    <p class="faint">
      Identifications that wait for a decision at the provider. Your program decides by its own calls; here an officer
      or operator of the provider does, without one.
    </p>
    ${
      waiting.length > 0
        ? waiting.slice(0, SHOWN).map(decision)
        : html`<p class="card empty">Nothing waits for a decision.</p>`
    }
    ${waiting.length > SHOWN && html`<p class="faint small">The oldest ${SHOWN} of ${waiting.length}.</p>`}`;
  // Somebody who is writing a reason must not lose it.
  const refresh = waiting.length > 0 ? {} : { refreshS: REFRESH_S };
  return page({ title: "Officer · simulator", body, narrow: true, ...refresh });
}
