// A list of thousands: a search in the address, rows drawn near the window alone, the next hundred at the end.
import { changeQuery } from "../lib/router.js";
import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { ErrorBox } from "./basic.js";

/** A field for the `q` of the address; it changes when the typing rests. Other filters are its children. */
export function Find({ q = "", label, placeholder, children }) {
  const timer = useRef(0);
  const field = useRef(null);
  useEffect(() => () => clearTimeout(timer.current), []);
  const type = (event) => {
    const text = event.target.value.trim();
    clearTimeout(timer.current);
    timer.current = setTimeout(() => { timer.current = 0; changeQuery({ q: text }); }, 250);
  };
  // A link to another filter empties the field; what is being typed stays.
  useEffect(() => {
    if (!timer.current) field.current.value = q;
  }, [q]);
  return html`<form class="row" role="search" onSubmit=${(event) => event.preventDefault()}>
    <input type="search" ref=${field} aria-label=${label} placeholder=${placeholder} defaultValue=${q} onInput=${type} />${children}</form>`;
}

/** The bodies of a table, of a hundred rows each; `row(one)` draws a row. */
export function Hundreds({ of, columns, row }) {
  const hundreds = Array.from({ length: Math.ceil(of.length / 100) }, (_, at) => of.slice(at * 100, at * 100 + 100));
  return hundreds.map((some, at) => html`<${Hundred} key=${at} of=${some} columns=${columns} row=${row} />`);
}

/** Far from the window its rows are a space as high: each row of thousands would be drawn anew each second. */
function Hundred({ of, columns, row }) {
  const place = useRef(null);
  const [height, set] = useState(0);
  useEffect(() => {
    const told = (all) => {
      const { isIntersecting, boundingClientRect } = all.at(-1); // of a busy moment there are several
      if (isIntersecting || !place.current.contains(document.activeElement)) set(isIntersecting ? 0 : boundingClientRect.height);
    };
    const seen = new IntersectionObserver(told, { rootMargin: "6000px" });
    seen.observe(place.current);
    return () => seen.disconnect();
  }, []);
  return html`<tbody ref=${place}>${height ? html`<tr class="far" style=${{ height: `${height}px` }}><td colspan=${columns} /></tr>` : of.map(row)}</tbody>`;
}

/** Shows the next hundred when it comes into sight, or is pressed. */
export function More({ load }) {
  const [state, set] = useState({ busy: false, error: null });
  const place = useRef(null);
  const latest = useRef(null);
  latest.current = async () => {
    if (state.busy) return;
    set({ busy: true, error: null });
    await load().then(() => set({ busy: false, error: null }), (error) => set({ busy: false, error }));
  };
  useEffect(() => {
    if (state.busy || state.error) return undefined; // it tells of a change alone: what is in sight again, or still, is asked anew
    const seen = new IntersectionObserver((told) => told.at(-1).isIntersecting && latest.current(), { rootMargin: "300px" });
    seen.observe(place.current);
    return () => seen.disconnect();
  }, [state]);
  return html`<div ref=${place}><${ErrorBox} error=${state.error} /><p><button disabled=${state.busy} onClick=${() => latest.current()}>${state.busy ? "Loading …" : "Show 100 more"}</button></p></div>`;
}
