// The route is the fragment: `#/jobs/ftjob-1?with=ftjob-2`. It works below any path, and every view is a link.
import { signal } from "./ui.js";

/** Returns path, parts and query of a fragment. Pure. */
export function parse(hash) {
  const text = hash.replace(/^#/, "") || "/jobs";
  const at = text.indexOf("?");
  const path = at < 0 ? text : text.slice(0, at);
  const query = Object.fromEntries(new URLSearchParams(at < 0 ? "" : text.slice(at + 1)));
  return { path: path || "/jobs", query };
}

/** Returns the fragment of a path and a query; empty members are left out. Pure. */
export function link(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  return `#${path}${text ? `?${text}` : ""}`;
}

/** Returns the parameters of a path that fits a pattern such as `/jobs/:id`, or null. Pure. */
export function match(pattern, path) {
  const [wanted, found] = [pattern.split("/"), path.split("/")];
  if (wanted.length !== found.length) return null;
  const params = {};
  for (const [index, part] of wanted.entries()) {
    if (part.startsWith(":")) {
      if (!found[index]) return null;
      params[part.slice(1)] = decoded(found[index]);
    } else if (part !== found[index]) return null;
  }
  return params;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const route = signal({ path: "/jobs", query: {} });

/** Reads the address now and at each change. `taken`: is told of a fragment first, and says if it has taken it. */
export function start(taken) {
  const read = () => {
    if (!taken(location.hash)) route.value = parse(location.hash);
  };
  addEventListener("hashchange", read);
  read();
}

export function go(path, query) {
  location.hash = link(path, query);
}

/** Puts other members into the query of the view that is shown, without a new entry in the history. */
export function changeQuery(members) {
  const { path, query } = route.value;
  history.replaceState(null, "", link(path, { ...query, ...members }));
  route.value = parse(location.hash);
}
