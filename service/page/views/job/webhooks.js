// The deliveries of a job: each with its attempts, what was sent and answered, and a way to send it again.
import { all, get, post } from "../../lib/api.js";
import { clock } from "../../lib/format.js";
import { useAction, useEvent, useLoaded } from "../../lib/hooks.js";
import { missing } from "../../lib/scopes.js";
import { withDelivery } from "../../lib/store.js";
import { html, useState } from "../../lib/ui.js";
import { shortType, stateOfDelivery } from "../../lib/webhooks.js";
import { Badge, Copy, ErrorBox, Id, Loading, Time } from "../../parts/basic.js";

export function Webhooks({ job }) {
  const [fresh, add] = useState([]);
  const list = useLoaded(() => { add([]); return all(`/fine_tuning/jobs/${job.id}/deliveries`); }, [job.id]);
  useEvent("delivery", (one) => one.job_id === job.id && add((before) => withDelivery(before, one)));
  const shown = fresh.reduceRight(withDelivery, list.data ?? []);
  return html`<h2>Webhooks</h2><${ErrorBox} error=${list.error} again=${list.again} />
    ${!list.data && !list.error && html`<${Loading} what="the webhooks" />`}
    ${shown.map((one) => html`<${Delivery} key=${one.id} one=${one} />`)}
    ${list.data && !shown.length && html`<p class="soft">${none(job)}</p>`}`;
}

function none(job) {
  if (job.tunehook.callback_url) return `None yet. Its end will be sent to ${job.tunehook.callback_url}.`;
  return "None: the job has no callback_url, and no endpoint of the project is subscribed to what happened.";
}

export function Delivery({ one }) {
  const why = missing("webhooks");
  const [isOpen, open] = useState(false);
  const [run, busy, error] = useAction(() => post(`/deliveries/${one.id}/redeliver`));
  return html`<div class="box ${stateOfDelivery(one).kind}"><div class="row"><${Badge} ...${stateOfDelivery(one)} /> <strong>${shortType(one.event_type)}</strong>
      <span class="why">→ ${one.url}</span> <${Time} at=${one.created_at} /><span class="grow"></span>
      <button disabled=${busy || why} title=${why} onClick=${run}>Redeliver</button></div>
    ${one.state !== "delivered" && one.last_error && html`<p class="why">${one.last_error}</p>`}
    <${ErrorBox} error=${error} />
    <details onToggle=${(event) => open(event.target.open)}><summary>${one.attempt_count === 1 ? "1 attempt" : `${one.attempt_count} attempts`}, body, how to send it yourself</summary>
      ${isOpen && html`<${Attempts} one=${one} />`}</details></div>`;
}

function Attempts({ one }) {
  const whole = useLoaded(() => get(`/deliveries/${one.id}`), [one.id, one.attempt_count, one.state]);
  const found = whole.data;
  if (!found) return html`<${ErrorBox} error=${whole.error} again=${whole.again} />${!whole.error && html`<${Loading} />`}`;
  const body = JSON.stringify(found.payload);
  const curl = `curl -X POST '${one.url.replaceAll("'", "'\\''")}' -H 'content-type: application/json' -d '${body.replaceAll("'", "'\\''")}'`;
  return html`<p><${Id} id=${one.id} /> event <${Id} id=${one.event_id} />${one.job_id && html` job <${Id} id=${one.job_id} href=${`#/jobs/${one.job_id}`} />`}${one.next_attempt_at ? `, next attempt ${clock(one.next_attempt_at)}` : ""}</p>
    <table class="cards"><thead><tr><th>Attempt</th><th>When</th><th class="num">Took</th><th>Answer</th></tr></thead><tbody>${found.attempts.map((attempt) => html`<tr key=${attempt.number}>
      <td data-label="Attempt">${attempt.number}</td><td data-label="When"><${Time} at=${attempt.started_at} /></td><td class="num" data-label="Took">${attempt.duration_ms} ms</td>
      <td data-label="Answer">${attempt.status_code ?? ""} ${attempt.error ?? ""}${attempt.response_body ? html`<pre>${attempt.response_body}</pre>` : ""}</td></tr>`)}</tbody></table>
    ${!found.attempts.length && html`<p class="soft">Not tried yet.</p>`}
    <p>Body <${Copy} text=${body} what="Copy the body" /> curl, unsigned <${Copy} text=${curl} what="Copy a curl command" /></p><pre>${JSON.stringify(found.payload, null, 2)}</pre>
    <p class="soft">A receiver verifies it by the headers webhook-id, webhook-timestamp and webhook-signature, as Standard Webhooks says; <code>tunehook signature verify</code> does the same.</p>`;
}
