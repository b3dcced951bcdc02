"use strict";
// Whatever comes from outside is set as text (textContent) and never as markup.
const HOUR = 3600, STEP = 10, SVG = "http://www.w3.org/2000/svg";
const [T, STARTS, IN_FLIGHT, LIMIT, PACE, P50, P95, DONE, PARKED, TOKENS, FAILURES, CIRCUIT, SECONDS] = Array.from({ length: 13 }, (_, i) => i);
const PHASES = [
  ["wait_rate", "pace"], ["wait_slot", "slot"], ["wait_circuit", "circuit"], ["server_pause", "pause"], ["backoff", "backoff"],
  ["host_delay", "politeness"], ["fetch", "sites"], ["generate", "writing"], ["first_token", "reading"], ["clean", "cleaning"],
  ["validate", "checking"], ["store", "store"],
];
const $ = (id) => document.getElementById(id);
const rows = new Map();
let view = null, now = 0, span = HOUR, drawn = false;

// --- words -----------------------------------------------------------------------------------------------------

const number = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 });
const numberOf = (count, one, several) => `${number(count || 0)} ${count === 1 ? one : several}`;
const clock = (seconds, exact) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...(exact && { second: "2-digit" }), hourCycle: "h23" });

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

function say(id, text, tone) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
  if (tone !== undefined) element.className = element.className.replace(/\b(good|warn|bad)\b/g, "").trim() + (tone ? ` ${tone}` : "");
}

function sayOf(id, value, limit) {
  const known = limit !== null && limit !== undefined;
  $(id).replaceChildren(String(value), element("span", {}, known ? ` / ${number(limit)}` : ""));
  const share = known && limit > 0 ? Math.min(1, value / limit) : 0;
  $(`${id}-bar`).style.width = `${share * 100}%`;
  $(`${id}-bar`).classList.toggle("full", share >= 1);
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// --- tiles -----------------------------------------------------------------------------------------------------

const GPU = { idle: ["○", ""], working: ["◐", "good"], busy: ["●", "good"], protected: ["▲", "warn"], stopped: ["✗", "bad"] };
const CIRCUITS = { closed: ["● closed", "good"], half_open: ["◐ half open", "warn"], open: ["▲ open", "bad"] };

function showTiles() {
  const { throttle, counts, outcomes } = view;
  say("limited", view.limited_by);
  const [mark, health] = GPU[view.gpu_state] || ["·", ""];
  say("gpu", `${mark} GPU ${view.gpu}`, health);
  document.querySelector(".limited").classList.toggle("held", throttle.circuit !== "closed" || Boolean(throttle.misconfigured) || Object.keys(view.away).length > 0);
  $("change").hidden = !view.change;
  say("setting", view.change);
  sayOf("in-flight", throttle.in_flight, throttle.limit);
  say("in-line", throttle.waiting ? `${throttle.waiting} in line for a turn` : "nobody in line");
  sayOf("starts", throttle.starts_last_minute, throttle.requests_per_minute);
  say("gap", throttle.smallest_gap_s === null ? "no two starts yet" : `never closer than ${duration(throttle.smallest_gap_s)}`);
  const [name, tone] = CIRCUITS[throttle.circuit] || [throttle.circuit, ""];
  say("circuit", name, tone);
  say("circuit-more", circuitMore(throttle));
  const done = outcomes.done || 0, parked = outcomes.park || 0, left = view.queue ? view.queue.ready + view.queue.waiting + view.queue.in_hand : null;
  $("done").replaceChildren(number(done), element("span", {}, ` done, ${number(parked)} parked`));
  $("done-bar").style.width = left === null || !(done + parked + left) ? "0" : `${(done + parked) / (done + parked + left) * 100}%`;
  say("left", left === null ? `${number(view.finished_per_minute)} a minute` : `${number(left)} left, ${number(view.finished_per_minute)} a minute` + (view.seconds_left === null ? "" : `, about ${duration(view.seconds_left)}`));
  say("latency", duration(view.latency_p50_s));
  say("latency-more", `p95 ${duration(view.latency_p95_s)}, first token ${duration(view.first_token_p50_s)}, ${number(view.tokens_per_second)} tokens/s`);
  $("workers").replaceChildren(String(view.workers), element("span", {}, ` with ${view.in_hand} in hand`));
  const away = Object.keys(view.away).map((what) => `✗ ${what} away`);
  say("trouble", [...away, numberOf(counts.retries, "retry", "retries"), `${numberOf(counts.failed_calls, "call", "calls")} failed`, ...(counts.restarts ? [numberOf(counts.restarts, "restart", "restarts")] : [])].join(", "));
}

function circuitMore(throttle) {
  if (throttle.misconfigured) return `✗ wrong setting: ${throttle.misconfigured}`;
  const parts = [];
  if (throttle.circuit === "open" && throttle.circuit_ordered) parts.push("an operator's order");
  if (throttle.retry_in_s !== null) parts.push(`next try in ${duration(throttle.retry_in_s)}`);
  if (throttle.paused_for_s > 0) parts.push(throttle.paused_for_s > 2592000 ? "‖ paused until resumed" : `‖ paused for ${duration(throttle.paused_for_s)}`);
  const opened = view.circuit_log.filter(([, state]) => state === "open").length;
  parts.push(opened ? `opened ${opened}×` : "never opened");
  return parts.join(", ");
}

// --- charts ----------------------------------------------------------------------------------------------------

class Chart {
  constructor(id, title) {
    this.title = title;
    this.reading = element("span", { "aria-live": "polite", id: `${id}-reading` });
    this.svg = svg("svg", { role: "img", tabindex: "0", id, preserveAspectRatio: "none" });
    this.figure = element("figure", {}, element("figcaption", {}, element("b", {}, title), this.reading), this.svg);
    this.at = null;
    this.svg.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.unpoint());
    this.svg.addEventListener("blur", () => this.unpoint());
    this.svg.addEventListener("keydown", (event) => this.key(event));
    $("charts").append(this.figure);
  }

  size() {
    this.width = Math.max(120, this.svg.clientWidth);
    this.height = Math.max(80, this.svg.clientHeight);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    [this.left, this.top, this.right, this.bottom] = [36, 8, this.width - 6, this.height - 20];
  }

  x(t) { return this.left + (t - (now - span)) / span * (this.right - this.left); }
  y(value) { return this.bottom - value / this.most * (this.bottom - this.top); }

  draw(list, most, name) {
    this.size();
    this.list = list;
    this.most = nice(most);
    const parts = [svg("defs", {}, svg("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("line", { class: "hatch", y2: 6 })))];
    for (const share of [0, 0.5, 1]) {
      const y = this.y(this.most * share);
      parts.push(svg("line", { class: "grid", x1: this.left, x2: this.right, y1: y, y2: y }));
      parts.push(svg("text", { class: "axis", x: this.left - 6, y: y + 4, "text-anchor": "end" }, name(this.most * share)));
    }
    const labels = this.width < 420 ? 3 : 6, every = [60, 120, 300, 600, 900, 1800].find((each) => span / each <= labels);
    for (let t = Math.ceil((now - span) / every) * every; t <= now; t += every)
      parts.push(svg("text", { class: "axis", x: this.x(t), y: this.height - 4, "text-anchor": "middle" }, clock(t)));
    for (const [from, to, state] of circuits(list)) {
      const x = Math.max(this.left, this.x(from)), width = Math.max(2, this.x(to) - x);
      parts.push(svg("rect", { class: "shade", x, y: this.top, width, height: this.bottom - this.top }));
      if (width > 34) parts.push(svg("text", { class: "shade-name", x: x + 3, y: this.top + 11 }, state === "open" ? "open" : "half open"));
    }
    parts.push(...this.marks());
    this.cursor = svg("line", { class: "cursor", y1: this.top, y2: this.bottom, visibility: "hidden" });
    this.svg.replaceChildren(...parts, this.cursor);
    this.svg.setAttribute("aria-label", `${this.title}: ${this.newest()}. Arrow keys go through the last hour.`);
    if (this.at !== null) this.move(this.at); else this.reading.textContent = this.newest();
  }

  line(pick, kind) {
    let path = "", before = null;
    for (const row of this.list) {
      const value = pick(row);
      if (value === null) { before = null; continue; }
      path += `${before === null || row[T] - before > 3 * STEP ? "M" : "L"}${this.x(row[T]).toFixed(1)},${this.y(value).toFixed(1)}`;
      before = row[T];
    }
    return svg("path", { class: kind, d: path || "M0,0" });
  }

  point(x) {
    const t = now - span + (x - this.left) / (this.right - this.left) * span;
    const nearest = this.list && this.list.reduce((best, row) => !best || Math.abs(row[T] - t) < Math.abs(best[T] - t) ? row : best, null);
    if (nearest) this.move(nearest[T]);
  }

  key(event) {
    const index = this.list ? this.list.findIndex((row) => row[T] === this.at) : -1;
    const last = (this.list || []).length - 1;
    const to = { ArrowLeft: (index < 0 ? last + 1 : index) - 1, ArrowRight: index + 1, Home: 0, End: last }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.move(this.list[Math.max(0, Math.min(last, to))][T]);
  }

  move(t) {
    const row = this.list.find((each) => each[T] === t);
    if (!row) return this.unpoint();
    this.at = t;
    this.cursor.setAttribute("x1", this.x(t));
    this.cursor.setAttribute("x2", this.x(t));
    this.cursor.setAttribute("visibility", "visible");
    this.reading.textContent = `${clock(t, true)}  ${this.read(row)}`;
  }

  known() { return true; }

  newest() {
    const row = this.list.findLast((each) => this.known(each));
    return row ? this.read(row) : "nothing yet";
  }

  unpoint() {
    this.at = null;
    if (this.cursor) this.cursor.setAttribute("visibility", "hidden");
    if (this.list) this.reading.textContent = this.newest();
  }
}

function nice(most) {
  const size = 10 ** Math.floor(Math.log10(Math.max(most, 0.001)));
  return [1, 2, 4, 5, 10].map((each) => each * size).find((each) => each >= most) || most;
}

function circuits(list) {
  const found = [];
  for (const row of list) {
    if (row[CIRCUIT] === "closed") continue;
    const last = found[found.length - 1];
    if (last && row[T] - last[1] <= STEP && (last[2] === row[CIRCUIT] || row[CIRCUIT] === "half_open")) last[1] = row[T] + STEP;
    else found.push([row[T], row[T] + STEP, row[CIRCUIT]]);
  }
  return found;
}

class InFlight extends Chart {
  marks() {
    const line = this.line((row) => row[IN_FLIGHT], "stroke"), area = this.line((row) => row[IN_FLIGHT], "area");
    const first = this.list[0], last = this.list[this.list.length - 1];
    if (first) area.setAttribute("d", `${line.getAttribute("d").replaceAll("M", "L").replace("L", "M")}L${this.x(last[T])},${this.bottom}L${this.x(first[T])},${this.bottom}Z`);
    return [area, line, this.line((row) => row[LIMIT] || null, "limit")];
  }
  read(row) { return `${row[IN_FLIGHT]} in flight, limit ${row[LIMIT] || "–"}`; }
}

class Starts extends Chart {
  marks() {
    const width = Math.max(1, (this.right - this.left) / (span / STEP) - 0.5);
    const columns = this.list.filter((row) => row[STARTS] && this.x(row[T]) >= this.left).map((row) => {
      const y = this.y(row[STARTS]);
      return svg("rect", { class: "column", x: this.x(row[T]), y, width, height: Math.max(0, this.bottom - y) });
    });
    return [...columns, this.line((row) => row[PACE] || null, "limit")];
  }
  read(row) { return `${number(row[STARTS])} a minute, limit ${row[PACE] ? number(row[PACE]) : "–"}`; }
}

class Latency extends Chart {
  known(row) { return row[P50] !== null; }
  marks() { return [this.line((row) => row[P95], "stroke second"), this.line((row) => row[P50], "stroke")]; }
  read(row) { return `half in ${duration(row[P50])}, 95 % in ${duration(row[P95])} (dashed)`; }
}

class TimeSpent extends Chart {
  constructor(...args) {
    super(...args);
    this.legend = element("ul", { class: "legend" });
    this.figure.append(this.legend);
  }
  // Where nothing was settled for a minute there is nothing to draw a line through.
  marks() {
    const runs = [];
    for (const row of this.list.filter((each) => total(each) > 0)) {
      const run = runs[runs.length - 1];
      if (run && row[T] - run[run.length - 1][T] <= 60) run.push(row); else runs.push([row]);
    }
    const found = runs.map((run) => this.layers(run));
    return [...found.flatMap(([layers]) => layers), ...found.flatMap(([, names]) => names)];
  }
  layers(list) {
    const below = list.map(() => 0), layers = [], names = [], wide = this.x(list[list.length - 1][T]) - this.x(list[0][T]);
    PHASES.forEach(([phase, name], index) => {
      const shares = list.map((row) => (row[SECONDS][phase] || 0) / total(row) * 100);
      if (!shares.some((share) => share > 0)) return;
      const top = shares.map((share, at) => below[at] + share);
      const up = list.map((row, at) => `${this.x(row[T]).toFixed(1)},${this.y(top[at]).toFixed(1)}`);
      const down = list.map((row, at) => `${this.x(row[T]).toFixed(1)},${this.y(below[at]).toFixed(1)}`).reverse();
      layers.push(svg("path", { class: `layer f${index}`, d: `M${up.join("L")}L${down.join("L")}Z` }));
      const middle = Math.floor(list.length / 2), y = this.y((top[middle] + below[middle]) / 2) + 4;
      if (shares[middle] > 11 && wide > 70) names.push(svg("text", { class: "layer-name", x: this.x(list[middle][T]), y, "text-anchor": "middle" }, name));
      top.forEach((value, at) => { below[at] = value; });
    });
    return [layers, names];
  }
  known(row) { return total(row) > 0; }
  read(row) {
    const all = total(row);
    if (!all) return "nothing settled";
    return PHASES.map(([phase, name], index) => [row[SECONDS][phase] || 0, name, index]).sort((a, b) => b[0] - a[0]).slice(0, 3)
      .filter(([spent]) => spent > 0).map(([spent, name]) => `${name} ${Math.round(spent / all * 100)} %`).join(", ");
  }
  showLegend() {
    const spent = Object.keys(view.recent_seconds).length ? view.recent_seconds : view.seconds;
    const all = Object.values(spent).reduce((sum, each) => sum + each, 0);
    const items = PHASES.map(([phase, name], index) => [spent[phase] || 0, name, index]).filter(([each]) => each / all >= 0.005).sort((a, b) => b[0] - a[0]);
    this.legend.replaceChildren(...items.map(([each, name, index]) => element("li", {}, svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("rect", { class: `f${index}`, width: 10, height: 10, rx: 2 })), `${name} ${Math.round(each / all * 100)} %`)));
  }
}

const total = (row) => Object.values(row[SECONDS]).reduce((sum, each) => sum + each, 0);
const most = (list, ...columns) => Math.max(1, ...list.flatMap((row) => columns.map((column) => row[column] || 0)));

const charts = {
  inFlight: new InFlight("chart-in-flight", "In flight against the limit"),
  starts: new Starts("chart-starts", "Starts per minute"),
  latency: new Latency("chart-latency", "Latency of a request"),
  time: new TimeSpent("chart-time", "Where the tasks’ time went"),
};

function draw() {
  drawn = false;
  const list = [...rows.values()].filter((row) => row[T] > now - HOUR - STEP);
  span = list.length ? Math.min(HOUR, Math.max(300, (now - list[0][T]) * 1.05)) : HOUR; // a young run fills the chart too
  charts.inFlight.draw(list, most(list, IN_FLIGHT, LIMIT), number);
  charts.starts.draw(list, most(list, PACE, STARTS), number);
  const slowest = Math.max(0.01, ...list.map((row) => row[P95] || 0));
  charts.latency.draw(list, slowest, (value) => value ? duration(value) : "0");
  charts.time.draw(list, 100, (value) => `${value} %`);
  charts.time.showLegend();
}

function drawSoon() {
  if (!drawn && view) { drawn = true; requestAnimationFrame(draw); }
}

// --- lists -----------------------------------------------------------------------------------------------------

const MARKS = { debug: "·", info: "·", warning: "!", error: "✗" }, TONES = { warning: "warn", error: "bad" };
let listed = "", parkedListed = "";

function showEvents() {
  const events = view.events.slice(-12).reverse(), key = JSON.stringify(events);
  if (key === listed) return;
  listed = key;
  $("events").replaceChildren(...events.map((event) => element("li", {},
    element("time", {}, clock(event.at, true)), element("span", { class: TONES[event.level] || "", "aria-label": event.level }, MARKS[event.level] || "·"),
    element("span", {}, event.name), element("span", {}, event.text))));
}

function showParked(parked, controls) {
  const key = JSON.stringify([parked, controls]);
  if (key === parkedListed) return;
  parkedListed = key;
  const reasons = Object.entries(parked || {}).sort((a, b) => b[1] - a[1]);
  $("parked").replaceChildren(...(reasons.length ? reasons.map(([reason, count]) => {
    const button = element("button", { type: "button", "aria-label": `Run the tasks parked for ${reason} again` }, "↻ Replay");
    button.addEventListener("click", () => ask("/replay", { reason }, (said) => `${said.replayed} tasks are in the queue again`, button));
    return element("tr", {}, element("th", { scope: "row" }, reason), element("td", { class: "number" }, number(count)), element("td", {}, ...(controls ? [button] : [])));
  }) : [element("tr", {}, element("td", { colspan: 3, class: "quiet" }, parked ? "none" : "the results database does not answer"))]));
}

// --- controls --------------------------------------------------------------------------------------------------

async function ask(path, body, words, button) {
  if (button) button.disabled = true;
  try {
    const response = await fetch(path, { method: "POST", headers: { "content-type": "application/json", "x-dashboard-token": encodeURIComponent($("token").value) }, body: JSON.stringify(body) });
    const said = await response.json();
    say("answer", response.ok ? `✓ ${words(said)}` : `✗ ${said.error}`, response.ok ? "good" : "bad");
    if (response.status === 401) $("token").focus();
  } catch {
    say("answer", "✗ nobody answers", "bad");
  } finally {
    if (button) button.disabled = false;
  }
}

const limits = (said) => `${said.max_concurrent} in flight, ${number(said.requests_per_minute)} a minute`;
const control = (id, body, words) => $(id).addEventListener("click", (event) => ask("/control", body, words, event.currentTarget));
control("pause", { do: "pause" }, () => "paused until resumed");
control("resume", { do: "resume" }, () => "goes on");
control("reset", { do: "reset" }, (said) => `as the settings say: ${limits(said)}`);
$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  const body = { do: "set" };
  if ($("max-concurrent").value) body.max_concurrent = Number($("max-concurrent").value);
  if ($("pace").value) body.requests_per_minute = Number($("pace").value);
  ask("/control", body, limits, $("set"));
});

// --- live ------------------------------------------------------------------------------------------------------

let source = null, heardAt = 0;

function listen() {
  if (source) source.close();
  source = new EventSource("/events");
  source.onmessage = (message) => {
    const news = JSON.parse(message.data);
    view = news.view;
    now = view.at;
    heardAt = performance.now();
    for (const row of news.rows) rows.set(row[T], row);
    for (const t of rows.keys()) if (t < now - HOUR - 6 * STEP) rows.delete(t);
    $("controls").hidden = !news.controls;
    $("no-controls").hidden = news.controls;
    $("max-concurrent").placeholder = view.throttle.limit ?? "";
    $("pace").placeholder = view.throttle.requests_per_minute ?? "";
    showLink();
    showTiles();
    showEvents();
    showParked(news.parked, news.controls);
    drawSoon();
  };
  source.onerror = showLink;
}

function showLink() {
  const silent = heardAt ? (performance.now() - heardAt) / 1000 : Infinity, live = silent < 5;
  say("link", live ? `● live, ${clock(now, true)}` : heardAt ? `○ no news for ${duration(silent)}, trying again` : "○ connecting");
  $("link").className = `link ${live ? "live" : heardAt ? "lost" : ""}`;
  if (!live && heardAt && source.readyState === EventSource.CLOSED) listen();
}

setInterval(showLink, 3000);
new ResizeObserver(drawSoon).observe($("charts"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSoon);
listen();
