// The shell: header, health strip, the view of the address, the form for the key. README.md beside it tells the rest.
import { ROUTES } from "./routes.js";
import { clock, count, duration, money } from "./lib/format.js";
import { get } from "./lib/api.js";
import { KEY_FORM, forgetKey, key, refusal, session, takeFromAddress, useKey } from "./lib/key.js";
import * as notify from "./lib/notify.js";
import { match, parse, route, start as startRouter } from "./lib/router.js";
import { start as startShortcuts, ShortcutHelp } from "./lib/shortcuts.js";
import { wishes } from "./lib/storage.js";
import { start as startStore, summary } from "./lib/store.js";
import { line, retry, start as startStream } from "./lib/stream.js";
import { html, render, useEffect, useRef, useState } from "./lib/ui.js";
import { now } from "./parts/basic.js";

function App() {
  const isRefused = !key.value && refusal.value && summary.value; // in the middle of the work: what is shown stays
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header>
      <a class="name" href="#/jobs">Tunehook</a>
      ${key.value && html`<${Nav} />`}
      <${Tools} />
    </header>
    ${key.value && html`<${Cut} />`}
    <main id="main" tabindex="-1">${key.value || isRefused ? html`<${View} key=${session.value} />` : html`<h1>Which key?</h1><${AskKey} />`}</main>
    ${key.value && html`<${Health} />`}
    ${isRefused && html`<${AskAgain} />`}
    <${ShortcutHelp} />`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function Nav() {
  const { path } = route.value;
  return html`<nav aria-label="Views">${ROUTES.filter((one) => one.nav).map((one) => html`
    <a href=${`#${one.path}`} aria-current=${path === one.path || path.startsWith(`${one.path}/`) ? "page" : undefined}>${one.nav}</a>`)}
    <a href="docs">API</a></nav>`;
}

function Tools() {
  const themes = ["auto", "light", "dark"];
  const [theme, set] = useState(wishes.get("tunehook.theme") ?? "auto");
  useEffect(() => {
    wishes.set("tunehook.theme", theme);
    document.documentElement.dataset.theme = theme;
  }, [theme]);
  return html`<div class="tools">
    ${key.value && notify.isPossible && html`<button class="icon" aria-pressed=${notify.isOn.value} title="Notify me when a job ends" onClick=${notify.toggle}><${Bell} on=${notify.isOn.value} /><span class="hidden">Notify me when a job ends</span></button>`}
    <button class="icon" title=${`Colours: ${theme}`} onClick=${() => set(themes[(themes.indexOf(theme) + 1) % 3])}><span aria-hidden="true">◐</span><span class="hidden">Colours: ${theme}. Change</span></button>
    ${key.value && html`<button class="icon" title="Keys (?)" onClick=${() => document.getElementById("shortcuts").showModal()}><span aria-hidden="true">?</span><span class="hidden">Keyboard</span></button>
    <button class="quiet" onClick=${() => forgetKey()}>Forget the key</button>`}
  </div>`;
}

function Bell({ on }) {
  return html`<svg width="16" height="16" viewBox="0 0 16 16" fill=${on ? "currentColor" : "none"} stroke="currentColor" stroke-width="1.4" aria-hidden="true">
    <path d="M3 12c1-1 1-2 1-5a4 4 0 0 1 8 0c0 3 0 4 1 5zM6.500 14h3" />${!on && html`<path d="M2 2l12 12" />`}</svg>`;
}

/** The view of the address. Focus goes to its heading when the address changes. */
function View() {
  const { path, query } = route.value;
  const found = ROUTES.map((one) => ({ one, params: match(one.path, path) })).find(({ params }) => params);
  const [loaded, set] = useState({});
  const wanted = found?.one;
  useEffect(() => {
    if (!wanted) return undefined;
    let isWanted = true; // a slow view that was left meanwhile must not take the place of the next
    wanted.load().then((module) => isWanted && set({ of: wanted, View: module.default }), (error) => isWanted && set({ of: wanted, error }));
    return () => { isWanted = false; };
  }, [wanted]);
  useFocus(path, loaded.of === wanted);
  if (!wanted) return html`<h1>No such page</h1><p><a href="#/jobs">The list of jobs</a></p>`;
  if (loaded.of !== wanted) return html`<p class="soft" role="status">Loading …</p>`;
  if (loaded.error) return html`<h1>${wanted.title}</h1><p role="alert">This part of the page could not be loaded: ${loaded.error.message}. <button onClick=${() => location.reload()}>Reload</button></p>`;
  return html`<${loaded.View} key=${path} params=${found.params} query=${query} />`;
}

function useFocus(path, isLoaded) {
  const before = useRef(null);
  useEffect(() => {
    if (!isLoaded) return;
    if (before.current !== null && before.current !== path) {
      const heading = document.querySelector("main h1") ?? document.getElementById("main");
      heading.tabIndex = -1;
      heading.focus();
      scrollTo(0, 0);
    }
    before.current = path;
  }, [path, isLoaded]);
}

/** Says when the page is cut off, and since when; what it shows stays. */
function Cut() {
  const state = line.value;
  const isLong = state.since && now.value * 1000 - state.since > 2000;
  if (state.kind === "refused") return html`<div class="cut" role="status"><strong>Not live.</strong> ${state.why} <button onClick=${retry}>Try now</button></div>`;
  if (state.kind !== "cut" || !isLong) return html`<div role="status" class="hidden">${state.kind === "live" ? "Live" : ""}</div>`;
  return html`<div class="cut" role="status"><strong>Cut off since ${clock(state.since / 1000, now.peek())}.</strong> What you see is from then. It catches up by itself. <button onClick=${retry}>Try now</button></div>`;
}

/** What of the deployment a person should know, on every view. */
function Health() {
  const seen = summary.value;
  const isLive = line.value.kind === "live";
  const state = isLive ? html`<span class="badge good"><span aria-hidden="true">●</span> live</span>` : html`<span class="badge wait"><span aria-hidden="true">○</span> ${line.value.kind === "connecting" ? "connecting" : "not live"}</span>`;
  if (!seen) return html`<footer>${state}</footer>`;
  const running = seen.deployments.length;
  return html`<footer aria-label="Health">${state}
    ${seen.upstreams.map((one) => html`<${Upstream} one=${one} key=${one.name} />`)}
    ${running > 0 && html`<span>${count(running, "deployment")} running</span>`}
    <span>${seen.money.month}: ${money(seen.money.spent_usd)} spent${seen.money.estimated_usd > 0 ? html`, about ${money(seen.money.estimated_usd)} to come` : ""}${seen.money.unpriced_jobs > 0 ? ` (${count(seen.money.unpriced_jobs, "job")} without a price)` : ""}</span>
    <span class="soft">project ${seen.key.project}, key ${seen.key.name || seen.key.id}</span>
  </footer>`;
}

function Upstream({ one }) {
  const { tracked, waiting } = one.jobs;
  const jobs = `${tracked} there${waiting ? `, ${waiting} waiting` : ""}`;
  const ends = one.training_ends && html` <span class="soft" title="From that day its vendor takes no new job">trains until ${one.training_ends}</span>`;
  if (!one.hold) return html`<span>${one.name} <span class="badge good"><span aria-hidden="true">●</span> takes jobs</span> ${jobs}${ends}</span>`;
  const left = one.hold.until - now.value;
  return html`<span title=${one.hold.reason}>${one.name} <span class="badge bad"><span aria-hidden="true">✕</span> held</span> ${one.hold.reason}${left > 0 ? ` Again in ${duration(left)}.` : ""} ${jobs}${ends}</span>`;
}

/** Asks for the next key over what is shown, which is there again behind it. */
function AskAgain() {
  const dialog = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.focus?.();
  }, []);
  return html`<dialog ref=${dialog} closedby="none" aria-labelledby="refused" onClose=${() => dialog.current?.showModal()}>
    <h2 id="refused">The key of this tab is refused</h2>
    <p>It was revoked, has expired or got another secret. Nothing that you typed is lost: enter another key of the project ${summary.value?.key.project}.</p><${AskKey} /></dialog>`;
}

function AskKey() {
  const input = useRef(null);
  const [wrong, set] = useState("");
  useEffect(() => input.current.focus(), []);
  const take = async (event) => {
    event.preventDefault();
    const text = input.current.value.trim();
    if (!KEY_FORM.test(text)) return set("A key of Tunehook begins with th_, and has two parts behind that.");
    try {
      const { project } = (await get("/summary", {}, { headers: { authorization: `Bearer ${text}` } })).key;
      useKey(text, project === summary.value?.key.project);
    } catch (error) {
      if (error.status === 403) useKey(text); // each view says what this key may not do
      else set(error.message);
    }
  };
  return html`${refusal.value && !wrong && html`<p class="box bad" role="alert">${refusal.value}</p>`}
    <form onSubmit=${take}>
      <p><label for="key">An API key of Tunehook (<code>th_…</code>)</label>
      <input id="key" ref=${input} type="password" autocomplete="off" spellcheck="false" required aria-describedby="key-help" aria-invalid=${Boolean(wrong)} /></p>
      ${wrong && html`<p class="box bad" role="alert">${wrong}</p>`}
      <button class="first">Look</button>
      <p id="key-help" class="soft">This tab keeps it until it is closed. A key with the scope <code>read</code> is enough for looking. <code>tunehook up</code> and <code>tunehook open</code> print an address that brings it along.</p>
    </form>`;
}

startStream();
startStore();
notify.start();
startShortcuts();
startRouter((hash) => takeFromAddress(hash, (to) => { route.value = parse(`#${to}`); }));
render(html`<${App} />`, document.getElementById("app"));
