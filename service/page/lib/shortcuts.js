// Keys for those who want them: g and a letter goes to a view, / to the search, j and k move in a list, ? shows them.
import { ROUTES } from "../routes.js";
import { go } from "./router.js";
import { wishes } from "./storage.js";
import { html, signal } from "./ui.js";

const STORED = "tunehook.shortcuts";
const isOn = signal(wishes.get(STORED) !== "off");

export function start() {
  let before = "";
  addEventListener("keydown", (event) => {
    const isTyping = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (!isOn.value || isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const done = before === "g" ? goTo(event.key) : act(event.key);
    before = event.key === "g" && before !== "g" ? "g" : "";
    if (done) event.preventDefault();
  });
}

function goTo(letter) {
  const found = ROUTES.find((one) => one.key === letter);
  if (found) go(found.path);
  return Boolean(found);
}

function act(pressed) {
  if (pressed === "?") document.getElementById("shortcuts").showModal();
  else if (pressed === "/") document.querySelector("main input[type=search]")?.focus();
  else if (pressed === "j" || pressed === "k") return move(pressed === "j" ? 1 : -1);
  else return false;
  return true;
}

/** Focuses the next or last row's link: rows are `[data-row]` and have an `a`. */
function move(by) {
  const rows = [...document.querySelectorAll("main [data-row]")];
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const link = rows[Math.min(rows.length - 1, Math.max(0, at + (at < 0 ? 1 : by)))]?.querySelector("a[href]");
  link?.focus();
  return Boolean(link);
}

export function ShortcutHelp() {
  const change = () => {
    isOn.value = !isOn.value;
    wishes.set(STORED, isOn.value ? "on" : "off");
  };
  return html`<dialog id="shortcuts" aria-labelledby="shortcuts-title">
    <h2 id="shortcuts-title">Keyboard</h2>
    <dl class="facts">
      ${ROUTES.filter((one) => one.key).map((one) => html`<div><dt><kbd>g</kbd> <kbd>${one.key}</kbd></dt><dd>${one.nav}</dd></div>`)}
      <div><dt><kbd>/</kbd></dt><dd>search</dd></div>
      <div><dt><kbd>j</kbd> <kbd>k</kbd></dt><dd>next and last row</dd></div>
      <div><dt><kbd>←</kbd> <kbd>→</kbd></dt><dd>on a chart: step by step</dd></div>
    </dl>
    <p><label><input type="checkbox" checked=${isOn.value} onChange=${change} /> Single keys do this</label></p>
    <form method="dialog"><button>Close</button></form>
  </dialog>`;
}
