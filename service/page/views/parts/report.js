// What the check of a dataset found, with the lines.
import { send } from "../../lib/api.js";
import { count, number } from "../../lib/format.js";
import { html, useState } from "../../lib/ui.js";
import { lineOf } from "./file_lines.js";

const SIGNS = { error: "✕", warning: "!" };

/** The whole report. `report`: of `GET /v1/files/{id}/report`. */
export function Report({ report }) {
  const listed = [...report.findings].sort((a, b) => SEVERITY(a) - SEVERITY(b));
  const hidden = Object.values(report.counts).reduce((sum, count) => sum + count, 0) - listed.length;
  return html`
    <p class="facts">
      <span>${report.format ?? "no known format"}</span>
      <span>${number(report.lines)} lines, ${number(report.examples)} examples</span>
      <span class=${`badge note ${report.errors ? "bad" : "good"}`}>${report.errors ? `✕ ${count(report.errors, "error")}${report.with_errors ? ` in ${count(report.with_errors, "line")}` : ""}` : "✓ no errors"}</span>
      ${report.warnings > 0 && html`<span class="badge note wait">! ${count(report.warnings, "warning")}</span>`}
    </p>
    ${listed.length > 0 && html`<${Findings} findings=${listed} file=${report.file_id} />`}
    ${hidden > 0 && html`<p class="soft">${number(hidden)} more of these codes are counted and not listed: ${countsOf(report.counts)}.</p>`}
    <${Lengths} report=${report} />
  `;
}

const SEVERITY = (finding) => (finding.severity === "error" ? 0 : 1);
const countsOf = (counts) => Object.entries(counts).map(([code, many]) => `${code} ${number(many)}`).join(", ");

function Findings({ findings, file }) {
  return html`
    <table class="cards">
      <caption class="hidden">Findings, errors first</caption>
      <thead><tr><th scope="col">Finding</th><th scope="col">Where</th><th scope="col">What it says</th><th scope="col">What to do</th></tr></thead>
      <tbody>${findings.map((finding, at) => html`<${Finding} key=${at} finding=${finding} file=${file} />`)}</tbody>
    </table>
  `;
}

function Finding({ finding, file }) {
  const [line, setLine] = useState(null);
  const show = async () => {
    setLine({ text: "reading …" });
    try {
      const response = await send("GET", `/files/${file}/content`);
      const text = await lineOf(response.body, finding.line);
      setLine({ text: text ?? "The file has no such line." });
    } catch (error) {
      setLine({ text: error.message });
    }
  };
  return html`
    <tr>
      <td data-label="Finding"><span class=${`badge note ${finding.severity === "error" ? "bad" : "wait"}`}>${SIGNS[finding.severity]} ${finding.severity}</span> <code>${finding.code}</code></td>
      <td data-label="Where">${finding.line ? `line ${number(finding.line)} ` : "the whole file "}${finding.path !== "$" && html`<code>${finding.path}</code>`}</td>
      <td data-label="What it says">${finding.message}</td>
      <td data-label="What to do">${finding.hint} ${finding.line && !line && html`<button onClick=${show}>Show line ${finding.line}</button>`}</td>
    </tr>
    ${line && html`<tr><td colspan="4"><pre aria-label=${`Line ${finding.line}`}>${line.text}</pre></td></tr>`}
  `;
}

/** How long the examples are. */
function Lengths({ report }) {
  const rows = Object.entries(report.distributions ?? {}).filter(([, found]) => typeof found?.median === "number");
  if (!rows.length) return null;
  return html`
    <table class="cards">
      <caption>Lengths</caption>
      <thead><tr><th scope="col">Of an example</th>${["min", "median", "p95", "max"].map((name) => html`<th scope="col" class="num">${name}</th>`)}</tr></thead>
      <tbody>
        ${rows.map(([name, found]) => html`
          <tr><th scope="row">${name.replaceAll("_", " ")}</th>
            ${["min", "median", "p95", "max"].map((one) => html`<td class="num" data-label=${one}>${number(found[one])}</td>`)}
          </tr>`)}
      </tbody>
    </table>
  `;
}
