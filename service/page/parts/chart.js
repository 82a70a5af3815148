// A curve on a canvas, with a sentence, a table and arrow keys for those who do not see it. Loads uPlot.
import uPlot from "uplot";

import { aligned, csv, linesOf, sentence, smooth } from "../lib/curve.js";
import { count, measure, number } from "../lib/format.js";
import { html, useEffect, useId, useMemo, useRef, useState } from "../lib/ui.js";

const HEIGHT = 300;
/** Names of custom properties: one colour a job, or one a kind where there is one job. */
const COLOURS = ["--c1", "--c2", "--c3", "--c4"];
const SCALES = { step: "step", share: "share of the run, %", tokens: "tokens" };

/** `runs`: `[{id, label, columns, total, tokens, epochs}]`, up to four. `kinds`: which columns, as in curve.js. `of`: reward, loss or accuracy.
 *
 * `marks`: `[{id, step, label}]`, checkpoints. `ended`: no step is to come. What is measured stays a faint line when it is smoothed.
 */
export default function Chart({ runs, kinds, of = "loss", marks = [], title, ended = false }) {
  const [weight, setWeight] = useState(0);
  const [isLog, setLog] = useState(false);
  const [scale, setScale] = useState("step");
  const [asTable, setTable] = useState(false);
  const [part, setPart] = useState(1);
  const lines = useMemo(() => linesOf(runs, kinds, scale), [runs, kinds, scale]);
  const data = useMemo(() => aligned(lines), [lines]);
  const shown = useMemo(() => {
    const smoothed = weight ? data.slice(1).map((values) => smooth(values, weight)) : [];
    const from = Math.floor((data[0]?.length ?? 0) * (1 - part));
    return [data[0] ?? [], ...data.slice(1), ...smoothed].map((values) => (from ? values.slice(from) : values));
  }, [data, weight, part]);
  const id = useId();
  if (!lines.length) return html`<p class="soft">${ended ? "Nothing was measured: it ended before its first step." : "Nothing has been measured yet: the first steps appear here by themselves."}</p>`;
  const words = runs.map((run) => `${runs.length > 1 ? `${run.label}: ` : ""}${sentence(run.columns, measure, { of, kinds })}`);
  const hasTokens = runs.some((run) => run.tokens);
  return html`<figure aria-label=${title}>
    <figcaption id=${id}>${words.map((text) => html`<p>${text}</p>`)}</figcaption>
    <div class="row">
      <label>Smooth <input type="range" min="0" max="0.99" step="0.01" value=${weight} onInput=${(event) => setWeight(Number(event.target.value))} /> ${weight.toFixed(2)}</label>
      <label><input type="checkbox" checked=${isLog} onChange=${() => setLog(!isLog)} /> log</label>
      <label>x <select value=${scale} onChange=${(event) => setScale(event.target.value)}>
        ${Object.entries(SCALES).filter(([name]) => name !== "tokens" || hasTokens).map(([name, word]) => html`<option value=${name}>${word}</option>`)}</select></label>
      <label>Show <select value=${part} onChange=${(event) => setPart(Number(event.target.value))}>
        <option value="1">all</option><option value="0.5">the last half</option><option value="0.1">the last tenth</option></select></label>
      <label><input type="checkbox" checked=${asTable} onChange=${() => setTable(!asTable)} /> as a table</label>
      <button onClick=${() => runs.forEach((run) => save(run))}>CSV</button>
    </div>
    <${Legend} runs=${runs} lines=${lines} weight=${weight} marks=${marks} />
    <${Canvas} lines=${lines} runs=${runs} shown=${shown} weight=${weight} isLog=${isLog} scale=${scale} marks=${marks} describedby=${id} title=${title} />
    ${asTable && html`<${Table} runs=${runs} lines=${lines} data=${data} scale=${scale} />`}
  </figure>`;
}

function colourOf(line, runs) {
  const run = runs.findIndex(({ id }) => id === line.id);
  return COLOURS[(runs.length > 1 ? run : line.kind.dash.length ? (line.kind.dash[0] === 2 ? 2 : 1) : 0) % COLOURS.length];
}

function nameOf(line, runs) {
  return runs.length > 1 ? `${runs.find(({ id }) => id === line.id).label} ${line.kind.word}` : line.kind.word;
}

function Legend({ runs, lines, weight, marks }) {
  return html`<div class="legend">${lines.map((line) => html`<span class=${colourOf(line, runs).slice(2)}>
      <svg width="30" height="8" aria-hidden="true"><path d="M0 4h30" stroke="currentColor" stroke-width="2.500" stroke-dasharray=${line.kind.dash.join(" ")} /></svg> <span class="ink">${nameOf(line, runs)}</span></span>`)}
    ${runs.length === 1 && runs[0].total && runs[0].epochs > 1 && html`<span>❘ ${count(runs[0].epochs, "epoch")}</span>`}
    ${marks.length > 0 && html`<span>◆ ${count(marks.length, "checkpoint")}</span>`}
    ${weight > 0 && html`<span class="soft">faint: as measured</span>`}
    <span class="soft">drag: zoom in; double click: all</span></div>`;
}

function Canvas({ lines, runs, shown, weight, isLog, scale, marks, describedby, title }) {
  const place = useRef(null);
  const plot = useRef(null);
  const zoomed = useRef(false);
  const [at, setAt] = useState(null);
  const points = useRef({});
  points.current = { shown, marks, lines, runs };
  const shape = `${lines.map((line) => `${line.id} ${line.kind.column}`)} ${weight > 0} ${isLog} ${scale}`;
  useEffect(() => {
    const element = place.current; // the reference is empty when the last size is told, after the view has gone
    const made = draw(element, points.current, { isSmoothed: weight > 0, isLog, scale, zoomed, markPoints: () => marksOf(points.current, scale) });
    plot.current = made;
    const width = () => Math.max(200, element.clientWidth);
    // An observer is told of the first size too: a second picture of the same.
    const seen = new ResizeObserver(() => made.width !== width() && made.setSize({ width: width(), height: HEIGHT }));
    seen.observe(element);
    const themed = new MutationObserver(() => made.redraw());
    themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const media = matchMedia("(prefers-color-scheme: dark)");
    const again = () => made.redraw();
    media.addEventListener("change", again);
    return () => {
      seen.disconnect();
      themed.disconnect();
      media.removeEventListener("change", again);
      made.destroy();
    };
  }, [shape]);
  useEffect(() => {
    plot.current?.setData(shown, !zoomed.current);
    if (zoomed.current) plot.current?.redraw();
    setAt((before) => (before === null ? null : Math.min(before, shown[0].length - 1)));
  }, [shown, marks]);
  const move = (event) => {
    const last = shown[0].length - 1;
    const step = event.shiftKey ? 10 : 1;
    const from = at ?? (event.key === "ArrowLeft" ? last + 1 : -1);
    const to = { ArrowLeft: from - step, ArrowRight: from + step, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const index = Math.min(last, Math.max(0, to));
    setAt(index);
    plot.current.setCursor({ left: plot.current.valToPos(shown[0][index], "x"), top: 10 });
  };
  return html`<div class="chart" tabindex="0" role="application" aria-roledescription="chart" aria-label=${`${title}. Arrow keys go from step to step.`}
    aria-describedby=${describedby} onKeyDown=${move} ref=${place}></div>
    <${Reading} at=${at} shown=${shown} lines=${lines} runs=${runs} scale=${scale} />`;
}

/** The values at the place of the arrow keys: said politely, and not more often than twice a second. */
function Reading({ at, shown, lines, runs, scale }) {
  const [said, say] = useState("");
  const text = at === null || at >= shown[0].length ? "" : `${SCALES[scale].split(",")[0]} ${number(shown[0][at], 1)}: ${lines.map((line, index) => `${nameOf(line, runs)} ${measure(shown[index + 1][at])}`).join(", ")}`;
  useEffect(() => {
    const timer = setTimeout(() => say(text), 500);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<p class="reading"><span aria-hidden="true">${text || "\u00a0"}</span><span class="hidden" role="status">${said}</span></p>`;
}

function marksOf({ marks, lines, shown }, scale) {
  if (scale !== "step") return [];
  return marks.flatMap(({ id, step }) => {
    const line = lines.findIndex((one) => one.id === id);
    const index = line < 0 ? -1 : shown[0].indexOf(step);
    const value = index < 0 ? null : shown[line + 1][index];
    return value === null || value === undefined ? [] : [{ x: step, y: value }];
  });
}

/** The colour that a custom property has now: a canvas knows no light-dark(). */
function resolve(place, name) {
  place.style.color = `var(${name})`;
  const found = getComputedStyle(place).color;
  place.style.color = "";
  return found;
}

function draw(place, { shown, lines, runs }, { isSmoothed, isLog, scale, zoomed, markPoints }) {
  const ink = () => resolve(place, "--soft");
  const grid = { stroke: () => resolve(place, "--line"), width: 1 };
  const font = "12px system-ui";
  const axis = { stroke: ink, grid, ticks: grid, font };
  const series = (line, faint) => ({
    label: nameOf(line, runs),
    stroke: () => resolve(place, colourOf(line, runs)),
    width: faint ? 1 : 2,
    alpha: faint ? 0.35 : 1,
    dash: line.kind.dash,
    spanGaps: true,
    points: { show: (self, index) => self.data[index].filter((value) => value !== null).length < 40, size: 5 },
  });
  return new uPlot({
    width: Math.max(200, place.clientWidth),
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: true, y: false } },
    scales: { x: { time: false }, y: { distr: isLog ? 3 : 1 } },
    axes: [{ ...axis, label: SCALES[scale], labelFont: font, labelSize: 18 }, { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : Number(tick.toPrecision(3)).toString())) }],
    series: [{ label: scale }, ...lines.map((line) => series(line, isSmoothed)), ...(isSmoothed ? lines.map((line) => series(line, false)) : [])],
    hooks: {
      setSelect: [(self) => { if (self.select.width > 0) zoomed.current = true; }],
      draw: [(self) => {
        paint(self, markPoints(), resolve(place, "--ink"));
        if (scale === "step" && runs.length === 1) rule(self, runs[0], resolve(place, "--soft"));
      }],
      ready: [(self) => self.over.addEventListener("dblclick", () => { zoomed.current = false; })],
    },
  }, shown, place);
}

/** Checkpoints: diamonds on the line. */
function paint(self, points, colour) {
  const { ctx } = self;
  ctx.save();
  ctx.fillStyle = colour;
  for (const { x, y } of points) {
    const [left, top] = [self.valToPos(x, "x", true), self.valToPos(y, "y", true)];
    if (left < self.bbox.left || left > self.bbox.left + self.bbox.width) continue;
    const size = 6 * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(left, top - size);
    ctx.lineTo(left + size, top);
    ctx.lineTo(left, top + size);
    ctx.lineTo(left - size, top);
    ctx.fill();
  }
  ctx.restore();
}

/** Ends of epochs: short lines at the bottom. */
function rule(self, { total, epochs }, colour) {
  if (!total || !(epochs > 1)) return;
  const { ctx, bbox } = self;
  ctx.save();
  ctx.fillStyle = colour;
  for (let epoch = 1; epoch <= epochs; epoch += 1) {
    const left = self.valToPos((epoch * total) / epochs, "x", true);
    if (left >= bbox.left && left <= bbox.left + bbox.width) ctx.fillRect(left, bbox.top + bbox.height - 9 * devicePixelRatio, devicePixelRatio * 2, 9 * devicePixelRatio);
  }
  ctx.restore();
}

/** All values, the newest first, a hundred at a time. */
function Table({ runs, lines, data, scale }) {
  const [most, set] = useState(100);
  const rows = data[0].map((_, index) => data[0].length - 1 - index).slice(0, most);
  return html`<table><caption>${SCALES[scale]}, newest first: ${Math.min(most, data[0].length)} of ${number(data[0].length)}</caption>
    <thead><tr><th class="num">${scale}</th>${lines.map((line) => html`<th class="num">${nameOf(line, runs)}</th>`)}</tr></thead>
    <tbody>${rows.map((index) => html`<tr key=${data[0][index]}><td class="num">${number(data[0][index], 1)}</td>${lines.map((_, line) => html`<td class="num">${measure(data[line + 1][index])}</td>`)}</tr>`)}</tbody></table>
    ${most < data[0].length && html`<button onClick=${() => set(most + 400)}>Show 400 more</button>`}`;
}

function save(run) {
  const address = URL.createObjectURL(new Blob([csv(run.columns)], { type: "text/csv" }));
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = `${run.id}.csv`;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** uPlot's own stylesheet, from its folder: once. */
const sheet = document.createElement("link");
sheet.rel = "stylesheet";
sheet.href = new URL("uPlot.min.css", import.meta.resolve("uplot")).href;
document.head.append(sheet);
