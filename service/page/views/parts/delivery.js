// One delivery: what was sent, each attempt with the answer, and send it again.
import { get, post } from "../../lib/api.js";
import { missing } from "../../lib/scopes.js";
import { html, useEffect, useState } from "../../lib/ui.js";
import { Badge, Copy, ErrorBox, Time } from "../../parts/basic.js";

const STATES = { pending: ["↻", "wait"], delivered: ["✓", "good"], failed: ["✕", "bad"] };

export function Delivery({ delivery }) {
  const [open, setOpen] = useState(false);
  const [sign, tone] = STATES[delivery.state];
  return html`
    <details class="card" open=${open} onToggle=${(event) => setOpen(event.target.open)}>
      <summary>
        <${Badge} kind=${tone} sign=${sign} word=${delivery.state} /> ${delivery.event_type} <${Time} at=${delivery.created_at} />${" "}
        <span class="soft">${wordsOf(delivery)}</span>
      </summary>
      ${open && html`<${Attempts} delivery=${delivery} />`}
    </details>
  `;
}

function wordsOf({ state, attempt_count, last_status_code, last_error, next_attempt_at, url }) {
  const attempts = `${attempt_count} attempt${attempt_count === 1 ? "" : "s"}`;
  if (state === "delivered") return `${last_status_code ?? ""} after ${attempts}`;
  const waits = url.startsWith("pull:") ? "waits to be fetched" : next_attempt_at ? html`next <${Time} at=${next_attempt_at} />` : "";
  return html`${attempts}${state === "pending" && html` · ${waits}`}${last_error && ` · ${last_error}`}`;
}

function Attempts({ delivery }) {
  const [found, setFound] = useState({ whole: null, error: null });
  const changed = `${delivery.id} ${delivery.state} ${delivery.attempt_count} ${delivery.next_attempt_at}`;
  useEffect(() => {
    let live = true;
    get(`/deliveries/${delivery.id}`).then(
      (whole) => live && setFound({ whole, error: null }),
      (error) => live && setFound((before) => ({ ...before, error })),
    );
    return () => { live = false; };
  }, [changed]);
  const why = missing("webhooks");
  const again = () => post(`/deliveries/${delivery.id}/redeliver`).then(
    (whole) => setFound({ whole, error: null }),
    (error) => setFound((before) => ({ ...before, error })),
  );
  const { whole, error } = found;
  return html`
    <p class="row"><code>${delivery.id}</code> ${delivery.job_id && html`<a href=${`#/jobs/${delivery.job_id}`}>${delivery.job_id}</a>`}
      <button disabled=${!!why} onClick=${again}>Send it again</button> ${why && html`<span class="soft">${why}</span>`}</p>
    <${ErrorBox} error=${error} />
    ${whole && html`
      ${whole.attempts.length > 0 && html`
        <table class="cards">
          <caption class="hidden">Attempts</caption>
          <thead><tr><th scope="col">Attempt</th><th scope="col">At</th><th scope="col">Took</th><th scope="col">Answer</th></tr></thead>
          <tbody>${whole.attempts.map((one) => html`
            <tr key=${one.number}><th scope="row">${one.number}</th>
              <td data-label="At"><${Time} at=${one.started_at} /></td><td data-label="Took">${one.duration_ms} ms</td>
              <td data-label="Answer"><span class=${`badge note ${one.error ? "bad" : "good"}`}>${one.error ? "✕" : "✓"} ${one.status_code ?? "no answer"}</span> ${one.error} ${one.response_body && html`<pre>${one.response_body}</pre>`}</td></tr>`)}
          </tbody>
        </table>`}
      <details><summary>What is sent</summary><pre>${JSON.stringify(whole.payload, null, 2)}</pre>
        <p><${Copy} text=${JSON.stringify(whole.payload)} what="the body" /></p></details>`}
  `;
}
