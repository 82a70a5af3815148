// Numbers, times and money as people read them. Pure: no browser, no state. Times are unix seconds.

const NONE = "–";

/** A number with thousands, at most `digits` behind the point. */
export function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits });
}

/** A loss or an accuracy: three digits that count. */
export function measure(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 100_000) ? value.toExponential(2) : value.toFixed(size < 1 ? 3 : 2);
}

/** US dollars: cents, and more digits below one. */
export function money(usd) {
  if (usd === null || usd === undefined) return NONE;
  return `$${usd.toFixed(usd !== 0 && usd < 1 ? (usd < 0.01 ? 4 : 3) : 2)}`;
}

export function bytes(count) {
  if (count === null || count === undefined) return NONE;
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) { count /= 1000; at += 1; }
  return `${at && count < 100 ? count.toFixed(1) : Math.round(count)} ${units[at]}`;
}

/** A length of time, its two largest units: "4 min", "1 h 5 min", "2 d 3 h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return NONE;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 600 && whole % 60) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 3600) return `${Math.round(whole / 60)} min`;
  const [large, small, names] = whole < 86_400
    ? [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), ["h", "min"]]
    : [Math.floor(whole / 86_400), Math.floor((whole % 86_400) / 3600), ["d", "h"]];
  return small ? `${large} ${names[0]} ${small} ${names[1]}` : `${large} ${names[0]}`;
}

const two = (value) => String(value).padStart(2, "0");

/** The time of day, with the date where it is another day than now's. */
export function clock(seconds, now = Date.now() / 1000, withSeconds = true) {
  if (seconds === null || seconds === undefined) return NONE;
  const at = new Date(seconds * 1000);
  const time = `${two(at.getHours())}:${two(at.getMinutes())}${withSeconds ? `:${two(at.getSeconds())}` : ""}`;
  return at.toDateString() === new Date(now * 1000).toDateString() ? time : `${day(seconds)} ${time}`;
}

export function day(seconds) {
  const at = new Date(seconds * 1000);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** "3 min ago", "in 4 min", "now". */
export function relative(seconds, now) {
  if (seconds === null || seconds === undefined) return NONE;
  const away = Math.round(seconds - now);
  if (Math.abs(away) < 2) return "now";
  const text = duration(Math.abs(away) < 60 ? Math.abs(away) : Math.round(Math.abs(away) / 60) * 60);
  return away < 0 ? `${text} ago` : `in ${text}`;
}

/** "1 job", "3 jobs". */
export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

export function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

/** A text of at most so many characters. */
export function cut(text, most) {
  const letters = [...text];
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : text;
}

/** A model's name without the day of its version and the vendor's frame: "gpt-4.1-mini", "ft:…:birds". */
export function modelName(name) {
  if (!name) return NONE;
  const parts = name.split(":");
  const short = (text) => text.replace(/-\d{4}-\d{2}-\d{2}$/, "");
  if (parts[0] === "ft" && parts.length >= 4) return parts.slice(3).filter(Boolean).join(":");
  return short(name.split("/").pop());
}
