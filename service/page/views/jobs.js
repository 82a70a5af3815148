// The list of jobs: filters and search in the address, live, more than a hundred by scrolling on.
import { useLoaded, useTitle } from "../lib/hooks.js";
import { get } from "../lib/api.js";
import { link } from "../lib/router.js";
import { putJob } from "../lib/store.js";
import { html } from "../lib/ui.js";
import { Ago, Empty, ErrorBox, Id, JobState, Loading } from "../parts/basic.js";

export default function Jobs() {
  useTitle("Jobs");
  const list = useLoaded(async () => (await get("/fine_tuning/jobs", { limit: 100 })).data.map(putJob));
  return html`<h1>Jobs</h1><${ErrorBox} error=${list.error} again=${list.again} />
    ${list.data ? list.data.map((job) => html`<p data-row key=${job.id}><${JobState} job=${job} /> <${Id} id=${job.id} href=${link(`/jobs/${job.id}`)} /> <${Ago} at=${job.created_at} /></p>`) : html`<${Loading} />`}
    ${list.data?.length === 0 && html`<${Empty} why="No job has been made in this project yet." />`}`;
}
