// One job.
import { useLoaded, useTitle } from "../lib/hooks.js";
import { jobSignal, loadJob } from "../lib/store.js";
import { html } from "../lib/ui.js";
import { ErrorBox, JobState, Loading } from "../parts/basic.js";

export default function JobView({ params }) {
  useTitle(params.id);
  const loaded = useLoaded(() => loadJob(params.id), [params.id]);
  const job = jobSignal(params.id).value;
  return html`<h1>${params.id}</h1><${ErrorBox} error=${loaded.error} again=${loaded.again} />
    ${job ? html`<p><${JobState} job=${job} /></p>` : html`<${Loading} />`}`;
}
