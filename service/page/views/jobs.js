// The list of jobs: filters and search in the address, live, more than a hundred by scrolling on.
import { get } from "../lib/api.js";
import { filtersOf, inWords } from "../lib/filter.js";
import { useMetrics } from "../lib/follow_metrics.js";
import { count, cut, duration, modelName, money } from "../lib/format.js";
import { useEvent, useLoaded, useTitle } from "../lib/hooks.js";
import { hasEnded, progressOf, whyOf } from "../lib/job.js";
import { JobList } from "../lib/joblist.js";
import { changeQuery, go, link, route } from "../lib/router.js";
import { jobSignal, putJob, summary, useWebhooks } from "../lib/store.js";
import { html, useCallback, useEffect, useRef, useState } from "../lib/ui.js";
import { stateOfAll } from "../lib/webhooks.js";
import { Ago, Badge, Empty, ErrorBox, Id, JobState, Loading, Progress, Time, now } from "../parts/basic.js";
import { Find, Hundreds, More } from "../parts/long_list.js";
import { Spark } from "../parts/spark.js";

/** So many jobs can be compared, and so many logs are in one stream. */
const FOUR = 4;
/** The list that was left: a way back to it ends where it began, with as many jobs up to a thousand. */
const left = { text: null, count: 0, top: 0, chosen: [] };
const MOST_PAGES = 10;

export default function Jobs({ query }) {
  useTitle("Jobs");
  const filters = filtersOf(query);
  const list = useJobList(filters);
  const [chosen, choose] = useState(left.text === list.text ? left.chosen : []);
  useWayBack(list, chosen);
  const toggle = useCallback((id) => choose((some) => (some.includes(id) ? some.filter((one) => one !== id) : [...some, id].slice(-FOUR))), []);
  const live = useRunning(list.ids);
  return html`<h1>Jobs</h1>
    <${Tabs} filters=${filters} />
    <${Search} filters=${filters} />
    <${ErrorBox} error=${list.error} again=${list.again} />
    <div class="row"><span class="soft" role="status">${list.isRead && `${count(list.ids.length, "job")}${list.more ? " so far" : ""}`}</span>
      ${list.ids.length > 0 && html`<button disabled=${chosen.length < 2} onClick=${() => go("/compare", { jobs: chosen.join(",") })}>Compare ${chosen.length || ""}</button>`}
      ${list.ids.length > 0 && chosen.length === 0 && html`<span class="soft">Tick up to four jobs to see their curves together.</span>`}</div>
    ${list.ids.length > 0 && html`<table class="cards jobs"><thead><tr><th><span class="hidden">Compare</span></th><th>State</th><th>Job</th><th>Model → name</th>
      <th>Progress</th><th>Left</th><th>Loss</th><th class="num">Cost</th><th>Webhook</th><th>Made</th></tr></thead>
      <${Hundreds} of=${list.ids} columns="10" row=${(id) => html`<${Row} key=${id} id=${id} isLive=${live.includes(id)} isChosen=${chosen.includes(id)} toggle=${toggle} />`} /></table>`}
    ${!list.isRead && !list.error && html`<${Loading} what="the jobs" />`}
    ${list.isRead && !list.ids.length && html`<${Nothing} filters=${filters} />`}
    ${list.more && html`<${More} load=${list.load} />`}`;
}

function useJobList(filters) {
  const text = JSON.stringify(filters);
  const [, redraw] = useState(0);
  const draw = () => redraw((times) => times + 1);
  const told = useRef([]); // what the stream tells while pages are on their way, which may not know of it
  const loaded = useLoaded(async () => {
    const meanwhile = (told.current = []);
    const pages = shown ? Math.ceil(shown.ids.length / 100) : left.text === text ? Math.min(MOST_PAGES, Math.ceil(left.count / 100)) : 1;
    const made = Object.assign(new JobList(filters), { text });
    for (let page = 0; page < Math.max(1, pages); page += 1) {
      const found = await get("/fine_tuning/jobs", { ...filters, limit: 100, after: made.cursor });
      found.data.forEach(putJob);
      made.add(found);
      if (!found.has_more) break;
    }
    if (meanwhile.map((job) => made.take(job)).includes("ask")) ask();
    return made;
  }, [text]);
  const shown = loaded.data?.text === text ? loaded.data : null;
  const asked = useRef(0);
  const ask = () => { asked.current ||= setTimeout(() => { asked.current = 0; loaded.again(); }, 2000); };
  useEffect(() => () => { clearTimeout(asked.current); asked.current = 0; }, [text]);
  useEvent("job", (job) => {
    if (loaded.loading) told.current.push(job);
    const done = shown?.take(job);
    if (done === "changed") draw();
    else if (done === "ask") ask();
  });
  const load = async () => {
    const found = await get("/fine_tuning/jobs", { ...filters, limit: 100, after: shown.cursor });
    found.data.forEach(putJob);
    shown.add(found);
    draw();
  };
  return { text, ids: shown?.ids ?? [], more: shown?.more ?? false, isRead: Boolean(shown), error: loaded.error, again: loaded.again, load };
}

function useWayBack({ text, ids, isRead }, chosen) {
  const latest = useRef({ top: 0 });
  Object.assign(latest.current, { text, chosen, count: ids.length });
  useEffect(() => {
    // Without its rows the window is at its top, before this view has been told to go.
    const note = () => { if (route.peek().path === "/jobs") latest.current.top = scrollY; };
    addEventListener("scroll", note);
    return () => {
      removeEventListener("scroll", note);
      Object.assign(left, latest.current);
    };
  }, []);
  useEffect(() => {
    if (!isRead) return;
    if (left.text === text) scrollTo(0, left.top);
    left.text = null;
  }, [isRead]);
}

/** The newest jobs that train: their logs are followed. */
function useRunning(ids) {
  const find = () => ids.filter((id) => jobSignal(id).peek()?.status === "running").slice(0, FOUR);
  const [, redraw] = useState("");
  useEvent("job", () => redraw(find().join()));
  return find();
}

const TABS = [
  ["all", {}, (jobs) => Object.values(jobs).reduce((sum, value) => sum + value, 0)],
  ["training", { stage: "tracked" }, (jobs) => jobs.tracked],
  ["waiting", { stage: "waiting" }, (jobs) => jobs.waiting],
  ["uploading", { stage: "uploading" }, (jobs) => jobs.uploading],
  ["succeeded", { status: "succeeded" }, null],
  ["failed", { status: "failed" }, null],
  ["cancelled", { status: "cancelled" }, null],
];

/** States, with the number of jobs where the service counts them. */
function Tabs({ filters }) {
  const counts = summary.value?.jobs;
  const { stage, status, ...rest } = filters;
  return html`<nav class="tabs" aria-label="States">${TABS.map(([word, own, counted]) => html`
    <a href=${link("/jobs", { ...rest, ...own })} aria-current=${own.stage === stage && own.status === status ? "true" : undefined}>
      ${word}${counted && counts ? html` <strong>${counted(counts)}</strong>` : ""}</a>`)}</nav>`;
}

function Search({ filters }) {
  const upstreams = summary.value?.upstreams ?? [];
  const others = Object.entries(filters).filter(([name]) => !["stage", "status", "q", "upstream"].includes(name));
  return html`<${Find} q=${filters.q} label="Find in ids, names and metadata" placeholder="Find: id, name, metadata">
    ${upstreams.length > 1 && html`<select aria-label="Upstream" value=${filters.upstream ?? ""} onChange=${(event) => changeQuery({ upstream: event.target.value })}>
      <option value="">every upstream</option>${upstreams.map(({ name }) => html`<option value=${name}>${name}</option>`)}</select>`}
    ${others.map(([name, value]) => html`<span class="chip">${inWords({ [name]: value })[0]}
      <button class="icon" aria-label=${`Without ${inWords({ [name]: value })[0]}`} onClick=${() => changeQuery({ [name]: "" })}>✕</button></span>`)}
  <//>`;
}

function Nothing({ filters }) {
  const words = inWords(filters);
  if (words.length) return html`<${Empty} why=${`No job of this project fits: ${words.join(", ")}.`}><p><a href="#/jobs">All jobs</a></p></${Empty}>`;
  return html`<${Empty} why="No job has been made in this project yet."><p class="soft">A job that a program, the terminal or another person makes with a key of this project appears here by itself.</p><p><a class="button first" href="#/new">Start one here</a></p></${Empty}>`;
}

function Row({ id, isLive, isChosen, toggle }) {
  const job = jobSignal(id).value;
  const row = useRef(null);
  const metrics = useMetrics(isLive && job?.status === "running" ? id : null);
  const webhooks = useWebhooks(id, row, job && hasEnded(job));
  if (!job) return null;
  const { metadata } = job;
  const sweep = metadata?.sweep;
  return html`<tr data-row ref=${row}>
    <td><input type="checkbox" aria-label=${`Compare ${id}`} checked=${isChosen} onChange=${() => toggle(id)} /></td>
    <td data-label="State"><${JobState} job=${job} /></td>
    <td data-label="Job"><${Id} id=${id} href=${link(`/jobs/${id}`)} />
      <div class="tags">${sweep && html`<a href=${link("/compare", { sweep })}>sweep ${cut(sweep, 24)}</a>${metadata.sweep_run ? ` · ${metadata.sweep_run}` : ""} `}<${Metadata} metadata=${metadata} /></div></td>
    <td data-label="Model"><span title=${job.model}>${modelName(job.model)}</span>${job.fine_tuned_model && html` → <span title=${job.fine_tuned_model}>${modelName(job.fine_tuned_model)}</span>`}
      <div class="soft">${job.tunehook.upstream}</div></td>
    <td data-label="Progress"><${Where} job=${job} metrics=${metrics} /></td>
    <td data-label="Left" class="short"><${Left} job=${job} /></td>
    <td data-label="Loss">${metrics.columns?.train_loss ? html`<${Spark} values=${metrics.columns.train_loss} />` : ""}</td>
    <td data-label="Cost" class="num"><${Cost} job=${job} /></td>
    <td data-label="Webhook">${webhooks && (stateOfAll(webhooks) ? html`<${Badge} ...${stateOfAll(webhooks)} />` : html`<span class="soft">none</span>`)}</td>
    <td data-label="Made" class="short"><${Ago} at=${job.created_at} /></td>
  </tr>`;
}

function Metadata({ metadata }) {
  const pairs = Object.entries(metadata ?? {}).filter(([name]) => !name.startsWith("sweep"));
  return pairs.slice(0, 3).map(([name, value]) => html`<a class="soft tag" title=${`${name}=${value}`} href=${link("/jobs", { [`metadata[${name}]`]: value })}>${cut(name, 24)}=${cut(value, 40)}</a> `);
}

/** Where the job is: a bar, or why it does not go on. */
function Where({ job, metrics }) {
  const why = whyOf(job);
  const { waiting } = job.tunehook;
  if (why) return html`<span class="why">${why}${waiting?.retry_at ? html` Next try <${Time} at=${waiting.retry_at} />.` : ""}${waiting?.place ? ` ${waiting.place} in line.` : ""}</span>`;
  const done = progressOf(job, metrics.columns && { step: metrics.columns.step?.at(-1), total_steps: metrics.total });
  if (done) return html`<${Progress} ...${done} />`;
  if (hasEnded(job)) return html`<span class="soft">${job.finished_at ? `took ${duration(job.finished_at - job.created_at)}` : ""}</span>`;
  return metrics.columns?.step?.length ? html`step ${metrics.columns.step.at(-1)}` : html`<span class="soft">since <${Time} at=${job.created_at} /></span>`;
}

function Left({ job }) {
  if (hasEnded(job) || !job.estimated_finish) return html`<span class="soft">–</span>`;
  const left = job.estimated_finish - now.value;
  return left > 0 ? `about ${duration(left)}` : "any moment";
}

function Cost({ job }) {
  const { cost, estimate } = job.tunehook;
  if (cost?.usd !== null && cost?.usd !== undefined) return money(cost.usd);
  if (hasEnded(job)) return html`<span class="soft" title="The upstream told no cost">–</span>`;
  if (estimate?.usd !== null && estimate?.usd !== undefined) return html`<span title="estimate">~${money(estimate.usd)}</span>`;
  return html`<span class="soft" title="No price is known">–</span>`;
}
