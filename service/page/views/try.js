// #/try: the base model beside the tuned one, streaming.
import { get, send } from "../lib/api.js";
import { useLoaded, useTitle } from "../lib/hooks.js";
import { changeQuery } from "../lib/router.js";
import { missing } from "../lib/scopes.js";
import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { EMPTY, readAnswer } from "./parts/chat_answer.js";
import { ModelSelect, useModels } from "./parts/models.js";

/** `query`: `model` (the tuned one), `base`. */
export default function Try({ query }) {
  useTitle("Try it");
  const models = useModels();
  const [asked, setAsked] = useState({ system: "", prompt: "", temperature: "0" });
  const tuned = query.model ?? models.tuned[0]?.id ?? "";
  const found = useBase(tuned);
  const base = query.base ?? found ?? "";
  const left = useAnswer();
  const right = useAnswer();
  const busy = left.busy || right.busy;
  const why = missing("chat");
  const form = useRef(null);
  const send = (event) => {
    event.preventDefault();
    if (busy || why || !asked.prompt.trim()) return;
    const body = bodyOf(asked);
    if (base) left.ask({ ...body, model: base });
    if (tuned) right.ask({ ...body, model: tuned });
  };
  return html`
    <h1 tabindex="-1">Try it</h1>
    <form class="form" ref=${form} onSubmit=${send} onKeyDown=${(event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && send(event)}>
      <label>System message <textarea rows="2" value=${asked.system} onInput=${(event) => setAsked({ ...asked, system: event.target.value })} /></label>
      <label>Prompt <textarea rows="3" required value=${asked.prompt} onInput=${(event) => setAsked({ ...asked, prompt: event.target.value })} /></label>
      <label class="narrow">Temperature <input type="number" min="0" max="2" step="0.1" value=${asked.temperature} onInput=${(event) => setAsked({ ...asked, temperature: event.target.value })} /></label>
      <p class="row">
        <button type="submit" class="first" disabled=${busy || !!why || !(base || tuned)}>Send <kbd>Ctrl ⏎</kbd></button>
        ${busy && html`<button type="button" onClick=${() => [left, right].forEach((one) => one.stop())}>■ Stop</button>`}
        ${why && html`<span class="soft">${why}</span>`}
      </p>
    </form>
    <div class="beside">
      <${Side} title="Base" groups=${{ "Base models": models.base }} chosen=${base} onChoose=${(model) => changeQuery({ base: model })} answer=${left.answer} />
      <${Side} title="Tuned" groups=${{ "Tuned here": models.tuned }} chosen=${tuned} onChoose=${(model) => changeQuery({ model, base: undefined })} answer=${right.answer}
        none=${html`No model was tuned here yet: <a href="#/new">start a job</a>.`} />
    </div>
    <p class="hidden" role="status">${!busy && (left.answer || right.answer) ? "The answers are complete." : ""}</p>
  `;
}

function bodyOf({ system, prompt, temperature }) {
  const messages = [...(system.trim() ? [{ role: "system", content: system }] : []), { role: "user", content: prompt }];
  const warmth = temperature === "" ? {} : { temperature: Number(temperature) };
  return { messages, ...warmth, stream: true, stream_options: { include_usage: true } };
}

function Side({ title, groups, chosen, onChoose, answer, none }) {
  return html`
    <section class="card">
      <${ModelSelect} label=${`${title} model`} groups=${groups} value=${chosen} onChange=${(event) => onChoose(event.target.value)} />
      ${!chosen && none && html`<p class="soft">${none}</p>`}
      ${answer && html`
        <div class="answer" aria-busy=${!answer.ended}>
          ${(answer.text || !answer.ended) && html`<pre>${answer.text}${!answer.ended && "▌"}</pre>`}
          ${answer.error && html`<p class="box bad" role="alert">${answer.error}</p>`}
          <p class="soft">${answer.tokens !== null && `${answer.tokens} tokens · `}${answer.seconds.toFixed(1)} s${answer.stopped ? " · stopped" : ""}</p>
        </div>`}
    </section>
  `;
}

/** Asks a model, and keeps its answer as it comes. */
function useAnswer() {
  const [answer, setAnswer] = useState(null);
  const running = useRef(null);
  useEffect(() => () => running.current?.abort(), []);
  const ask = async (body) => {
    const stopper = new AbortController();
    running.current = stopper;
    const begun = performance.now();
    let last = EMPTY;
    const show = (one) => {
      last = one;
      setAnswer({ ...one, seconds: (performance.now() - begun) / 1000, stopped: stopper.signal.aborted });
    };
    show(EMPTY);
    try {
      const response = await send("POST", "/chat/completions", { body, signal: stopper.signal });
      await readAnswer(response, show);
    } catch (error) {
      const stopped = stopper.signal.aborted;
      show({ ...last, ended: true, error: stopped ? null : wordsOf(error) });
    } finally {
      running.current = null;
    }
  };
  return { answer, busy: answer !== null && !answer.ended, ask, stop: () => running.current?.abort() };
}

/** The words of the upstream, and what they leave out. */
const wordsOf = (error) => `${error.message}${error.code === "model_not_found" ? " A new model may take some minutes until it answers." : ""}`;

/** The base of a tuned model, or of a checkpoint, which is in no list. */
function useBase(tuned) {
  const { data } = useLoaded(() => (tuned ? get(`/models/${encodeURIComponent(tuned)}`) : Promise.resolve(null)), [tuned]);
  return data?.parent;
}
