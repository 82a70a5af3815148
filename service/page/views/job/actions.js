// What a person may do with a job: try its model, pause, resume, cancel. A cancel asks first.
import { post } from "../../lib/api.js";
import { useAction } from "../../lib/hooks.js";
import { hasEnded } from "../../lib/job.js";
import { link } from "../../lib/router.js";
import { missing } from "../../lib/scopes.js";
import { putJob } from "../../lib/store.js";
import { html, useRef } from "../../lib/ui.js";
import { ErrorBox } from "../../parts/basic.js";

export function Actions({ job }) {
  const dialog = useRef(null);
  const [run, busy, error] = useAction(async (name) => putJob(await post(`/fine_tuning/jobs/${job.id}/${name}`)));
  const ended = hasEnded(job);
  const why = missing("write");
  const cancel = async () => {
    dialog.current.close();
    await run("cancel");
  };
  return html`<div class="row">
    ${job.fine_tuned_model && html`<a class="button first" href=${link("/try", { model: job.fine_tuned_model, base: job.model })}>Try it</a>`}
    ${job.status === "running" && html`<button disabled=${busy || why} title=${why} onClick=${() => run("pause")}>Pause</button>`}
    ${job.status === "paused" && html`<button disabled=${busy || why} title=${why} onClick=${() => run("resume")}>Resume</button>`}
    ${ended && html`<a class="button" href=${link("/new", { from: job.id })}>Again</a>`}
    ${!ended && html`<button class="danger" disabled=${busy || Boolean(why || job.tunehook.cancel_requested_at)} title=${why} onClick=${() => dialog.current.showModal()}>Cancel</button>`}
    <dialog ref=${dialog} aria-labelledby="cancel-title"><h2 id="cancel-title">Cancel this job?</h2>
      <p>The training ends, and cannot be taken up again. What was trained so far may be billed.</p>
      <div class="row end"><button onClick=${() => dialog.current.close()}>Let it run</button><button class="danger" onClick=${cancel}>Cancel the job</button></div></dialog>
    ${why && !ended && html`<span class="soft">${why}</span>`}
    <${ErrorBox} error=${error} /></div>`;
}
