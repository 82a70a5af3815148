// Up to four jobs on one chart, and what differs between them. `?jobs=a,b` or `?sweep=name`.
import { all, get } from "../lib/api.js";
import { chartsOf, KINDS, rangeOf } from "../lib/curve.js";
import { useMetrics } from "../lib/follow_metrics.js";
import { capital, duration, measure, modelName, money } from "../lib/format.js";
import { useEvent, useLoaded, useTitle } from "../lib/hooks.js";
import { differences, hasEnded } from "../lib/job.js";
import { changeQuery, link } from "../lib/router.js";
import { jobSignal, loadJob, putJob } from "../lib/store.js";
import { html, useMemo, useState } from "../lib/ui.js";
import Chart from "../parts/chart.js";
import { Empty, ErrorBox, Id, JobState, Loading } from "../parts/basic.js";

const FOUR = 4;

export default function Compare({ query }) {
  useTitle("Compare");
  const named = (query.jobs ?? "").split(",").filter(Boolean);
  const list = useLoaded(() => read(query.sweep, named), [query.sweep, query.jobs]);
  useEvent("job", (job) => query.sweep && job.metadata?.sweep === query.sweep && !list.data?.includes(job.id) && list.again());
  const ids = list.data ?? [];
  const chosen = (named.length ? named : ids).filter((id) => ids.includes(id)).slice(0, FOUR);
  const gone = list.data && !query.sweep ? named.slice(0, FOUR).filter((id) => !ids.includes(id)) : [];
  const toggle = (id) => changeQuery({ jobs: (chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(-FOUR)).join(",") });
  return html`<p><a href="#/jobs">‹ Jobs</a></p><h1>${query.sweep ? `Sweep ${query.sweep}` : "Compare"}</h1>
    <${ErrorBox} error=${list.error} again=${list.again} />
    ${!list.data && !list.error && html`<${Loading} what="the jobs" />`}
    ${list.data && !ids.length && html`<${Empty} why=${query.sweep ? `No job of this project has the sweep “${query.sweep}” in its metadata.` : "No job was chosen."}><p><a href="#/jobs">Choose up to four in the list</a></p></${Empty}>`}
    ${gone.length > 0 && html`<p class="box wait">No longer here: ${gone.join(", ")}</p>`}
    ${ids.length > FOUR && html`<p class="soft">${chosen.length} of ${ids.length} are drawn: tick others below.</p>`}
    ${chosen.length > 0 && html`<${Drawn} key=${chosen.join()} ids=${chosen} />`}
    ${ids.length > 0 && html`<${Jobs} ids=${ids} chosen=${chosen} toggle=${toggle} />`}
    ${!query.sweep && list.data && html`<${Others} ids=${ids} />`}`;
}

/** The ids of a sweep's jobs, or those that are named; each is known to the store then. */
async function read(sweep, named) {
  if (sweep) return (await all("/fine_tuning/jobs", { "metadata[sweep]": sweep })).map((job) => putJob(job).id).reverse();
  const found = await Promise.all(named.slice(0, FOUR).map((id) => loadJob(id).catch((error) => { if (error.status !== 404) throw error; })));
  return found.filter(Boolean).map(({ id }) => id);
}

function labelOf(job) {
  return job.metadata?.sweep_run ?? (job.fine_tuned_model ? modelName(job.fine_tuned_model) : job.id.slice(0, 12));
}

/** Hooks are called for four places, whatever the number of jobs. */
function Drawn({ ids }) {
  const [chosen, set] = useState(null);
  const places = [0, 1, 2, 3].map((at) => ({ id: ids[at] ?? null, metrics: useMetrics(ids[at] ?? null, ids[at] ? !isOver(ids[at]) : false) }));
  const found = places.filter(({ id, metrics }) => id && metrics.columns);
  const charts = chartsOf(...found.map(({ metrics }) => metrics.columns));
  const of = chosen ?? charts[0];
  const next = charts[(charts.indexOf(of) + 1) % charts.length];
  const runs = useMemo(() => found.map(({ id, metrics }) => {
    const job = jobSignal(id).peek();
    return { id, label: labelOf(job), columns: metrics.columns, total: metrics.total, tokens: job.trained_tokens };
  }), found.map(({ metrics }) => metrics.columns).concat(of, found.length));
  return html`<div class="row"><h2>${capital(of)}</h2>${next !== of && html`<button onClick=${() => set(next)}>Show ${next}</button>`}</div>
    ${places.map(({ metrics }) => html`<${ErrorBox} error=${metrics.error} />`)}
    ${found.length < ids.length && !places.some(({ metrics }) => metrics.error) ? html`<${Loading} what="the curves" />` : html`<${Chart} runs=${runs} kinds=${KINDS[of]} of=${of} title=${`${capital(of)} of ${ids.length} jobs`} />`}
    <${Table} runs=${runs} />`;
}

function isOver(id) {
  const job = jobSignal(id).peek();
  return Boolean(job && hasEnded(job));
}

function Table({ runs }) {
  const jobs = runs.map(({ id }) => jobSignal(id).value);
  if (jobs.length < 2 || !jobs.every(Boolean)) return null;
  const last = (run, column, best) => measure(run.columns[column] && rangeOf(run.columns.step, run.columns[column])?.[best]?.value);
  const own = [
    ["lowest train loss", runs.map((run) => last(run, "train_loss", "best"))],
    ["lowest valid loss", runs.map((run) => last(run, "valid_loss", "best"))],
    ["cost", jobs.map((job) => money(job.tunehook.cost?.usd ?? job.tunehook.estimate?.usd))],
    ["took", jobs.map((job) => (job.finished_at ? duration(job.finished_at - job.created_at) : "–"))],
  ];
  const rows = [...differences(jobs).map(({ name, values }) => [name, values.map((value) => (value === null ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value)))]), ...own];
  return html`<h2>What differs</h2><div class="wide" tabindex="0" role="region" aria-label="What differs"><table><thead><tr><td></td>${runs.map((run) => html`<th>${run.label}</th>`)}</tr></thead>
    <tbody>${rows.map(([name, values]) => html`<tr key=${name}><th scope="row">${name}</th>${values.map((value) => html`<td>${value}</td>`)}</tr>`)}</tbody></table></div>`;
}

function Jobs({ ids, chosen, toggle }) {
  return html`<h2>Jobs</h2><table class="cards"><thead><tr><th>Drawn</th><th>State</th><th>Job</th><th>Name</th></tr></thead><tbody>${ids.map((id) => html`<${Row} key=${id} id=${id} isChosen=${chosen.includes(id)} toggle=${toggle} />`)}</tbody></table>`;
}

function Row({ id, isChosen, toggle }) {
  const job = jobSignal(id).value;
  if (!job) return null;
  return html`<tr data-row><td data-label="Drawn"><input type="checkbox" aria-label=${`Draw ${id}`} checked=${isChosen} onChange=${() => toggle(id)} /></td><td data-label="State"><${JobState} job=${job} /></td>
    <td data-label="Job"><${Id} id=${id} href=${link(`/jobs/${id}`)} /></td><td data-label="Name">${labelOf(job)}</td></tr>`;
}

/** The newest other jobs, to lay beside those that are drawn. */
function Others({ ids }) {
  const list = useLoaded(async () => (await get("/fine_tuning/jobs", { limit: 20 })).data.map(putJob), []);
  const others = (list.data ?? []).filter((job) => !ids.includes(job.id));
  if (!others.length || ids.length >= FOUR) return null;
  return html`<label>Add <select value="" onChange=${(event) => changeQuery({ jobs: [...ids, event.target.value].join(",") })}>
    <option value="">one of the newest jobs …</option>${others.map((job) => html`<option value=${job.id}>${labelOf(job)} · ${modelName(job.model)} · ${job.status}</option>`)}</select></label>`;
}
