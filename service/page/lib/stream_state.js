// The state of the live stream. Pure: times come in, states go out; tests drive it without a browser.

/** Pause before the n-th attempt in a row to connect, in ms; `random` of 0…1 spreads browsers that lost one server. */
export function pause(failures, random = Math.random()) {
  if (failures === 0) return 0;
  return Math.min(15_000, 500 * 2 ** (failures - 1)) * (0.5 + random / 2);
}

/** A `Last-Event-ID` without the logs of jobs that are not followed: `<changes>;<job>=<log>;…`. */
export function lastIdFor(lastId, jobs) {
  if (!lastId) return "";
  const [changes, ...logs] = lastId.split(";");
  return [changes, ...logs.filter((log) => jobs.includes(log.slice(0, log.indexOf("="))))].join(";");
}

/** What one stream follows, at most four: of each tab its first wish, then the second…; newest tabs first. `wishes`: tab → {jobs, at}. */
export function union(wishes, absent = new Set(), most = 4) {
  const lists = [...wishes.values()].sort((one, other) => other.at - one.at).map(({ jobs }) => jobs.filter((id) => !absent.has(id)));
  const longest = Math.max(0, ...lists.map(({ length }) => length));
  const ids = new Set(Array.from({ length: longest }, (_, turn) => lists.flatMap((jobs) => jobs.slice(turn, turn + 1))).flat());
  return [...ids].slice(0, most).sort();
}

/** One connection after another: when it is cut, since when, and what was the last id. */
export class Line {
  constructor() {
    this.failures = 0;
    this.lastId = "";
    this.heard = null; // ms: when something last came
    this.state = { kind: "connecting", since: null };
  }

  /** Bytes came. */
  alive(now) {
    this.heard = now;
  }

  /** The first event of a connection came. */
  opened(now) {
    this.failures = 0;
    this.heard = now;
    this.state = { kind: "live", since: null };
  }

  /** A connection ended, or could not be made. Returns the pause in ms. An end by our own wish is no failure. */
  closed(now, random) {
    this.failures += 1;
    if (this.state.kind !== "cut") this.state = { kind: "cut", since: this.heard ?? now };
    return pause(this.failures, random);
  }

  /** Silence longer than three heartbeats of the server. */
  isSilent(now) {
    return this.heard !== null && now - this.heard > 45_000;
  }
}
