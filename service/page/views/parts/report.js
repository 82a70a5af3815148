// What the check of a dataset found, with the lines.
import { send } from "../../lib/api.js";
import { count, number } from "../../lib/format.js";
import { html, useState } from "../../lib/ui.js";
import { lineOf } from "./file_lines.js";

const SIGNS = { error: "✕", warning: "!" };

/** The whole report. `report`: of `GET /v1/files/{id}/report`. */
export function Report({ report }) {
  const listed = [...report.findings].sort((a, b) => SEVERITY(a) - SEVERITY(b));
  return html`
    <p class="facts">
      <span>${report.format ?? "no known format"}</span>
      <span>${number(report.lines)} lines, ${number(report.examples)} examples</span>
      <span class=${`badge note ${report.errors ? "bad" : "good"}`}>${report.errors ? `✕ ${count(report.errors, "error")}${report.with_errors ? ` in ${count(report.with_errors, "line")}` : ""}` : "✓ no errors"}</span>
      ${report.warnings > 0 && html`<span class="badge note wait">! ${count(report.warnings, "warning")}</span>`}
    </p>
    ${listed.length > 0 && html`<${Findings} findings=${listed} counts=${report.counts} file=${report.file_id} />`}
    <${Lengths} report=${report} />
  `;
}

const SEVERITY = (finding) => (finding.severity === "error" ? 0 : 1);

/** A row for each code: the same warning in 20 lines is one. */
function Findings({ findings, counts, file }) {
  const byCode = Map.groupBy(findings, ({ code }) => code);
  return html`
    <table class="cards">
      <caption class="hidden">Findings, errors first</caption>
      <thead><tr><th scope="col">Finding</th><th scope="col">What it says</th><th scope="col">What to do</th><th scope="col">Where</th></tr></thead>
      <tbody>${[...byCode].map(([code, found]) => html`<${Finding} key=${code} code=${code} found=${found} total=${counts[code] ?? found.length} file=${file} />`)}</tbody>
    </table>
  `;
}

function Finding({ code, found, total, file }) {
  const [shown, setShown] = useState(null);
  const [{ severity, message, hint }] = found;
  const show = async (finding) => {
    setShown({ finding, text: "reading …" });
    try {
      const response = await send("GET", `/files/${file}/content`);
      const text = await lineOf(response.body, finding.line);
      setShown({ finding, text: text ?? "The file has no such line." });
    } catch (error) {
      setShown({ finding, text: error.message });
    }
  };
  const inLines = found.filter(({ line }) => line);
  return html`
    <tr>
      <td data-label="Finding"><span class=${`badge note ${severity === "error" ? "bad" : "wait"}`}>${SIGNS[severity]} ${severity}</span> <code>${code}</code>${total > 1 && ` × ${number(total)}`}</td>
      <td data-label="What it says">${message}</td>
      <td data-label="What to do">${hint}</td>
      <td data-label="Where">${!inLines.length && "the whole file"}
        ${inLines.length > 0 && html`<span class="row">Show line ${inLines.map((one) => html`<button class="icon" aria-label=${`Show line ${one.line}: ${code}`} aria-expanded=${shown?.finding === one} onClick=${() => show(one)}><u>${number(one.line)}</u></button>`)}</span>`}
        ${total > found.length && html`<span class="soft">and ${number(total - found.length)} more</span>`}</td>
    </tr>
    ${shown && html`<tr><td colspan="4"><strong>Line ${number(shown.finding.line)}</strong> ${shown.finding.path !== "$" && html`<code>${shown.finding.path}</code>`} ${shown.finding.message}
      <pre aria-label=${`Line ${shown.finding.line}`}>${shown.text}</pre></td></tr>`}
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
