// Curves of training, step by step: the reader chooses a step, whose values a table shows,
// and a part of the steps to look at. Below the frameworks' curves stands how far each of
// them is from the first.
live.add("curves", (place, data) => {
  "use strict";
  const { make, say, integer, decimal } = live;
  const MANY = 10; // steps that a page key goes, and that are shown at least
  const LEFT = 56, TOP = 22, HEIGHT = 210, GAP = 40, LOWER = 120, BELOW = 40, APART = 16;
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
  const draw = (tag, values, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  // What is shown: a set of curves, the steps from and to, of which one is chosen. Steps
  // are counted from 0 here, and from 1 for the reader.
  let set, from, to, step;

  // The mean of each n steps in turn, at their middle: [[x, y], ...].
  const means = (values, n) =>
    values.slice(n - 1).map((_, i) => {
      const part = values.slice(i, i + n);
      return [i + (n - 1) / 2, part.reduce((a, b) => a + b) / n];
    });
  function read(key) {
    const { digits, window, lines } = data[key];
    const names = [...new Set(lines.map((line) => line.name))];
    const made = lines.map(({ name, seed, loss }) => {
      const values = loss.map((v) => (v === null ? NaN : v / 10 ** digits));
      return { name, seed, look: names.indexOf(name), values, curve: means(values, window) };
    });
    const [first] = made;
    const compared = first.seed === undefined;
    for (const line of compared ? made.slice(1) : [])
      line.apart = line.values.map((v, i) => [i, Math.abs(v - first.values[i])]);
    const last = Math.max(...made.map((line) => line.values.length)) - 1;
    return { key, digits, window, names, lines: made, last, compared };
  }

  // The chart. Round numbers for an axis, about as many as asked for:
  function ticks(low, high, about) {
    const raw = (high - low) / about, power = 10 ** Math.floor(Math.log10(raw));
    const by = [1, 2, 5, 10].find((m) => m * power >= raw * 0.999) * power;
    const digits = Math.max(0, -Math.floor(Math.log10(by * 1.001)));
    const found = [];
    for (let i = Math.ceil(low / by); i * by <= high; i++) found.push([i * by, decimal(i * by, digits)]);
    return found;
  }
  const svg = draw("svg", { "aria-hidden": "true" });
  const chart = make("div", { className: "curves-chart", tabIndex: 0, role: "slider",
    "aria-label": say("curves_chart"), "aria-valuemin": 1, "aria-describedby": "curves-keys" }, svg);
  const rule = draw("line", { class: "curves-rule" }), marked = draw("rect", { class: "curves-marked" });
  let right, bottom; // of the plot, in pixels

  const x = (i) => LEFT + ((i - from) / (to - from)) * (right - LEFT);
  const seen = (points) => points.filter(([i, v]) => i >= from && i <= to && Number.isFinite(v));
  const text = (at, y, words, values = {}) => draw("text", { x: at, y, ...values }, words);
  function grid(y, label) {
    svg.append(draw("line", { class: "curves-grid", x1: LEFT, x2: right, y1: y, y2: y }));
    svg.append(text(LEFT - 6, y + 4, label, { "text-anchor": "end" }));
  }
  function line(points, y, look, width) {
    const d = points.map(([i, v], k) => `${k ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`);
    svg.append(draw("path", { class: `curves-line curves-${look % 7}`, "stroke-width": width, d: d.join("") }));
  }
  function upper() {
    const shown = set.lines.map((l) => seen(l.curve)), all = shown.flat().map(([, v]) => v);
    if (!all.length) return; // none of these steps has a loss that is a number
    let low = Math.min(...all), high = Math.max(...all);
    const rim = 0.05 * (high - low) || 0.5;
    [low, high] = [low - rim, high + rim];
    const y = (v) => TOP + ((high - v) / (high - low)) * HEIGHT;
    ticks(low, high, 5).forEach(([v, label]) => grid(y(v), label));
    svg.append(text(LEFT, TOP - 8, say("curves_loss")));
    const thick = (look) => (set.compared ? [4, 2.8, 1.9, 1.2][look] ?? 1.2 : 1);
    set.lines.forEach((l, i) => line(shown[i], y, l.look, thick(l.look)));
    // Names at the ends, as near as they can be without covering each other
    const ends = set.names.map((name, look) => {
      const last = set.lines.flatMap((l, i) => (l.look === look ? shown[i].slice(-1) : []));
      const sorted = last.map(([, v]) => y(v)).sort((a, b) => a - b);
      return { name, look, y: sorted[sorted.length >> 1] }; // of several, at the middle one
    });
    const placed = ends.filter((e) => Number.isFinite(e.y)).sort((a, b) => a.y - b.y || a.look - b.look);
    placed.forEach((e) => (e.to = e.y));
    for (let turn = 0; turn < 60; turn++)
      for (let i = 1; i < placed.length; i++) {
        const [a, b] = [placed[i - 1], placed[i]], lack = APART - (b.to - a.to);
        if (lack > 0) [a.to, b.to] = [a.to - lack / 2, b.to + lack / 2];
      }
    const [first, end] = [placed[0], placed.at(-1)];
    const by = Math.max(TOP - first.to, 0) - Math.max(end.to - TOP - HEIGHT, 0);
    for (const e of placed) {
      const d = `M${right + 2} ${e.y}L${right + 16} ${e.to + by}`;
      svg.append(draw("path", { class: `curves-line curves-${e.look % 7}`, "stroke-width": 2, d }));
      svg.append(text(right + 19, e.to + by + 4, e.name, { class: "curves-name" }));
    }
  }
  // Differences on a log scale, with zero a decade below the smallest that is stored
  function lower() {
    const top = TOP + HEIGHT + GAP, none = -set.digits - 1;
    const most = Math.max(...set.lines.flatMap((l) => (l.apart ?? []).map(([, v]) => v || 0)));
    const high = Math.max(Math.ceil(Math.log10(most || 0.1)), none + 2);
    const y = (v) => top + ((high - (v > 0 ? Math.log10(v) : none)) / (high - none)) * LOWER;
    for (let p = none + 1; p <= high; p++) grid(y(10 ** p), decimal(10 ** p, Math.max(0, -p)));
    grid(y(0), "0");
    svg.append(text(LEFT, top - 8, say("curves_difference", { name: set.names[0] })));
    for (const l of set.lines) if (l.apart) line(seen(l.apart), y, l.look, 1.3);
  }
  function paint() {
    const width = chart.clientWidth;
    if (!width) return; // it is not displayed
    right = width - 28 - 6.8 * Math.max(...set.names.map((name) => name.length));
    bottom = TOP + HEIGHT + (set.compared ? GAP + LOWER : 0);
    svg.setAttribute("viewBox", `0 0 ${width} ${bottom + BELOW}`);
    svg.replaceChildren();
    upper();
    if (set.compared) lower();
    for (const [v, label] of ticks(from + 1, to + 1, Math.max(3, (right - LEFT) / 80)))
      if (Number.isInteger(v)) svg.append(text(x(v - 1), bottom + 18, integer(v), { "text-anchor": "middle" }));
    svg.append(text((LEFT + right) / 2, bottom + 35, say("curves_axis"), { "text-anchor": "middle" }));
    for (const [key, v] of [["y1", TOP], ["y2", bottom]]) rule.setAttribute(key, v);
    for (const [key, v] of [["y", TOP], ["height", bottom - TOP], ["width", 0]]) marked.setAttribute(key, v);
    svg.prepend(marked, rule);
    placeRule();
  }
  function placeRule() {
    for (const key of ["x1", "x2"]) rule.setAttribute(key, x(step));
  }

  // The table of one step
  const table = make("table", { className: "curves-table" });
  let fill;
  const head = (scope, ...words) => make("th", { scope }, ...words);
  const sample = (look) => draw("svg", { class: "curves-sample", viewBox: "0 0 30 8", "aria-hidden": "true" },
    draw("path", { class: `curves-line curves-${look % 7}`, "stroke-width": 2.5, d: "M0 4H30" }));
  function tabulate() {
    const seeds = set.compared ? [undefined] : [...new Set(set.lines.map((l) => l.seed))].sort((a, b) => a - b);
    const columns = set.compared
      ? [say("curves_loss_of"), say("curves_difference", { name: set.names[0] })]
      : seeds.map((n) => say("curves_seed", { n }));
    const caption = make("caption");
    const rows = set.names.map((name, look) => {
      const cells = columns.map(() => make("td"));
      return { name, cells, row: make("tr", {}, head("row", sample(look), name), ...cells) };
    });
    const most = make("td"), last = head("row", say("curves_largest"));
    last.colSpan = 2;
    if (set.compared) rows.push({ row: make("tr", {}, last, most) });
    table.replaceChildren(caption,
      make("thead", {}, make("tr", {}, make("td"), ...columns.map((c) => head("col", c)))),
      make("tbody", {}, ...rows.map((r) => r.row)));
    const show = (v) => (Number.isFinite(v) ? decimal(v, set.digits) : "\u2013");
    fill = () => {
      const told = [(caption.textContent = named())];
      for (const { name, cells } of rows.slice(0, set.names.length)) {
        const own = seeds.map((seed) => set.lines.find((l) => l.name === name && l.seed === seed));
        own.forEach((l, j) => (cells[j].textContent = show(l?.values[step])));
        told.push(`${name}: ${seeds.map((_, j) => cells[j].textContent).join(", ")}`);
        if (set.compared) cells[1].textContent = own[0].apart ? show(own[0].apart[step][1]) : "";
      }
      if (set.compared) {
        const values = set.lines.map((l) => l.values[step]);
        most.textContent = show(Math.max(...values) - Math.min(...values));
        told.push(`${say("curves_largest")}: ${most.textContent}`);
      }
      return told.join(". ");
    };
  }

  // Choosing a step, and what part is shown
  function point() {
    if (right) placeRule();
    chart.setAttribute("aria-valuenow", step + 1);
    chart.setAttribute("aria-valuetext", named());
    return fill();
  }
  const named = () => say("curves_step", { n: integer(step + 1), all: integer(set.last + 1) });
  const follow = live.oncePerFrame(() => tell(point()));
  function choose(wanted) {
    step = clamp(wanted, 0, set.last);
    if (step < from || step > to) view(step < from ? step : step - (to - from), to - from);
    follow();
  }
  // Show the steps from `start` to `start + span`, as far as there are such.
  function view(start, span) {
    const least = Math.min(Math.max(MANY, 2 * set.window) - 1, set.last);
    span = clamp(Math.round(span), least, set.last);
    from = clamp(Math.round(start), 0, set.last - span);
    to = from + span;
    step = clamp(step, from, to);
    const [a, b, all] = [from, to, set.last].map((i) => integer(i + 1));
    range.textContent = say("curves_from_to", { from: a, to: b, all });
    const whole = span === set.last;
    const off = [[closer, span === least], [wider, whole], [reset, whole]];
    for (const [button, is] of off) button.setAttribute("aria-disabled", is);
    paint();
    point();
  }
  const zoom = (by) => {
    const span = (to - from) * by;
    view(step - span / 2, span);
    tell(range.textContent);
  };
  const button = (words, label, run) => {
    const made = make("button", { type: "button", "aria-label": label, title: label }, words);
    made.addEventListener("click", run);
    return made;
  };
  const closer = button("+", say("curves_in"), () => zoom(0.5));
  const wider = button("\u2212", say("curves_out"), () => zoom(2));
  const reset = button(say("curves_reset"), say("curves_reset"), () => zoom(Infinity));
  const range = make("span", { className: "curves-range" });

  const under = (event) => {
    const at = live.spot(svg, event, 1)[0] * chart.clientWidth;
    return clamp(at, LEFT, right);
  };
  const stepAt = (at) => Math.round(from + ((at - LEFT) / (right - LEFT)) * (to - from));
  let began = null; // where a mouse or a pen began to mark a part; a finger only chooses
  chart.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    chart.setPointerCapture(event.pointerId);
    if (event.pointerType !== "touch") began = under(event);
    choose(stepAt(under(event)));
  });
  chart.addEventListener("pointermove", (event) => {
    const at = under(event);
    choose(stepAt(at));
    if (began === null) return;
    marked.setAttribute("x", Math.min(began, at));
    marked.setAttribute("width", Math.abs(at - began));
  });
  chart.addEventListener("pointerup", (event) => {
    const [a, b] = [began ?? 0, began === null ? 0 : under(event)].sort((p, q) => p - q);
    began = null;
    if (b - a < 8) return marked.setAttribute("width", 0);
    view(stepAt(a), stepAt(b) - stepAt(a));
    tell(range.textContent);
  });
  chart.addEventListener("pointercancel", () => {
    began = null;
    marked.setAttribute("width", 0);
  });
  chart.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = live.arrow(event), keys = {
      Home: () => choose(0), End: () => choose(set.last), "+": () => zoom(0.5), "-": () => zoom(2),
      PageUp: () => choose(step + MANY), PageDown: () => choose(step - MANY),
    };
    if (by) choose(step + by[0] - by[1]);
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });

  const note = make("p", { className: "live-note" });
  const names = Object.keys(data).map((key) => [key, say(`curves_${key}`)]);
  const sets = live.buttons(say("curves_sets"), Object.fromEntries(names), (key) => {
    open(key);
    tell(point());
  });
  function open(key) {
    set = read(key);
    step = Math.floor(set.last / 2);
    chart.setAttribute("aria-valuemax", set.last + 1);
    note.textContent = say(`curves_note_${key}`, { n: set.window });
    tabulate();
    view(0, set.last);
  }
  const keys = make("p", { className: "live-note", id: "curves-keys" }, say("curves_keys"));
  place.append(
    sets.row, make("div", { className: "live-buttons curves-tools" }, closer, wider, reset, range),
    chart, table, note, keys,
  );
  const tell = live.announcer(place);
  const [[first]] = names;
  sets.press(first);
  open(first);
  if ("ResizeObserver" in window) new ResizeObserver(live.oncePerFrame(paint)).observe(chart);
});
