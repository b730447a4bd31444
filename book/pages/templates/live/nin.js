// NiN, live: an image that the reader moves, turns, covers or draws, and what the network
// of network.js makes of it: ten maps of evidence, whose means are the logits.
live.add("nin", (place, data) => {
  "use strict";
  const { make, say, decimal, network } = live;
  const SIDE = 28, N = SIDE * SIDE, CELLS = 6, COVER = 8, ZOOM = 10, BRUSH = 1.4;
  const INPUT = 2 * SIDE, CELL = 8; // sides, in pixels of the network
  const names = say("nin_classes").split("|");
  const layers = network.load(data.weights), images = network.bytes(data.images);
  const state = {
    base: new Uint8Array(N), truth: -1, dx: 0, dy: 0, angle: 0, cover: null,
    mode: "move", shown: 0, follow: true, cell: null,
    pen: [SIDE / 2 + 0.5, SIDE / 2 + 0.5], lowered: false, keyed: false,
  };
  const drawing = () => state.mode === "draw" || state.mode === "erase";
  const showing = (changes) => () => {
    Object.assign(state, changes);
    show();
  };
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
  let result = null, whole = null; // of passes: the image as seen, and without the square

  // The image as it is moved and turned, bilinear, and with the square on it.
  function seen(covered = true) {
    const made = new Uint8Array(N), a = (state.angle * Math.PI) / 180, mid = (SIDE - 1) / 2;
    const cos = Math.cos(a), sin = Math.sin(a);
    const at = (i, j) => (i < 0 || j < 0 || i >= SIDE || j >= SIDE ? 0 : state.base[i * SIDE + j]);
    const [left, top] = (covered && state.cover) || [SIDE, SIDE];
    const on = (v, from) => v >= from && v < from + COVER;
    for (let i = 0; i < SIDE; i++)
      for (let j = 0; j < SIDE; j++) {
        if (on(i, top) && on(j, left)) continue;
        const y = i - state.dy - mid, x = j - state.dx - mid;
        const u = cos * y - sin * x + mid, v = sin * y + cos * x + mid;
        const p = Math.floor(u), q = Math.floor(v), f = u - p, g = v - q;
        const above = (1 - g) * at(p, q) + g * at(p, q + 1);
        const below = (1 - g) * at(p + 1, q) + g * at(p + 1, q + 1);
        made[i * SIDE + j] = Math.round((1 - f) * above + f * below);
      }
    return made;
  }

  // Passes through the network: one at a time, in slices between which the page can react
  // to the pointer.
  let busy = false, wanted = false, stale = true;
  const channel = new MessageChannel();
  const rest = () =>
    new Promise((goOn) => {
      channel.port1.onmessage = goOn;
      channel.port2.postMessage(0);
    });
  async function pass(image) {
    const steps = network.forward(layers, network.resize(image));
    for (let step, spent = 0; ; await rest()) {
      const start = performance.now();
      do step = steps.next();
      while (!step.done && performance.now() - start < 8);
      spent += performance.now() - start;
      place.dataset.milliseconds = Math.round(spent);
      if (step.done) return step.value;
    }
  }
  async function look() {
    for (busy = true; wanted; show()) {
      await new Promise(requestAnimationFrame);
      wanted = false;
      if (stale || !state.cover) {
        stale = false;
        whole = await pass(seen(false));
      }
      result = state.cover ? await pass(seen()) : whole;
    }
    busy = false;
    place.dataset.passes = 1 + +(place.dataset.passes ?? 0);
  }
  // The image has changed: draw it at once, and see what the network makes of it.
  function changed(image = true) {
    stale ||= image;
    wanted = true;
    draw();
    if (!busy) look();
  }

  // The image, with the evidence for the class shown over it
  const canvas = make("canvas", {
    width: SIDE * ZOOM, height: SIDE * ZOOM, tabIndex: 0, role: "application",
    "aria-label": `${say("nin_image")}. ${say("nin_keys")}`,
  });
  const context = live.context(canvas);
  const small = make("canvas", { width: SIDE, height: SIDE }), pixels = live.context(small);
  function paint(drawing, X) {
    const image = drawing.createImageData(SIDE, SIDE);
    X.forEach((v, i) => image.data.set([255 - v, 255 - v, 255 - v, 255], 4 * i));
    drawing.putImageData(image, 0, 0);
  }
  const red = (part) => `rgba(214, 40, 40, ${0.72 * part})`;
  // What a cell looks at, as [from, to] in columns and in rows, and the middle of it.
  const field = (k) => [k % CELLS, Math.floor(k / CELLS)].map(network.field);
  const middle = (k) =>
    field(k).map(([from, to]) => [(from + to + 1 - CELL) / 2, (from + to - 1 + CELL) / 2]);
  // The image, more or less faint, with a map over it.
  function overlaid(on, map, strength) {
    const side = on.canvas.width, unit = side / INPUT;
    on.imageSmoothingEnabled = false;
    on.clearRect(0, 0, side, side);
    on.globalAlpha = strength;
    on.drawImage(small, 0, 0, side, side);
    on.globalAlpha = 1;
    map.forEach((v, k) => {
      const [x, y] = middle(k).map(([from]) => from * unit);
      on.fillStyle = red(v / result.most);
      on.fillRect(x, y, CELL * unit, CELL * unit);
    });
  }
  const draw = live.oncePerFrame(() => {
    paint(pixels, seen());
    overlaid(context, result && overlay.input.checked ? result.maps[state.shown] : [], 1);
    const square = (at, side, color) =>
      outline(at.map((v) => [2 * v, 2 * (v + side) - 1]), color);
    if (state.cover) square(state.cover, COVER, "#1a73c7");
    const [side, color] = state.lowered ? [3, "#d62828"] : [5, "#1a73c7"];
    if (state.keyed && drawing()) square(state.pen.map((v) => v - side / 2), side, color);
    if (state.cell === null) return;
    outline(field(state.cell), "#d62828");
    outline(middle(state.cell), "#000");
  });
  // A frame around what lies [from, to] in the network's columns and rows.
  function outline(ranges, color) {
    const edge = (v) => clamp((v * ZOOM) / 2, 1.5, canvas.width - 1.5);
    const [[x0, x1], [y0, y1]] = ranges.map(([from, to]) => [edge(from), edge(to + 1)]);
    for (const [line, style] of [[4, "#fff"], [2, color]]) {
      context.lineWidth = line;
      context.strokeStyle = style;
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
  }

  // Another image, as it is; one that is none of the test images has no true class.
  function take(base, truth = -1) {
    Object.assign(state, { base, truth });
    setView({ dx: 0, dy: 0, angle: 0 });
    if (truth < 0) thumbs.press("");
    changed();
  }
  function stroke(from, to) {
    const ink = state.mode === "draw";
    take(seen(false));
    state.pen = to.map((v) => clamp(v, 0.5, SIDE - 0.5));
    const steps = Math.ceil(2 * Math.hypot(to[0] - from[0], to[1] - from[1])) + 1;
    for (let s = 1; s <= steps; s++) {
      const [cx, cy] = [0, 1].map((k) => from[k] + ((to[k] - from[k]) * s) / steps - 0.5);
      for (let y = Math.max(0, Math.floor(cy - 2)); y < Math.min(SIDE, cy + 3); y++)
        for (let x = Math.max(0, Math.floor(cx - 2)); x < Math.min(SIDE, cx + 3); x++) {
          const part = clamp(BRUSH + 0.5 - Math.hypot(x - cx, y - cy), 0, 1);
          const i = y * SIDE + x, old = state.base[i];
          state.base[i] = ink ? Math.max(old, 255 * part) : Math.min(old, 255 * (1 - part));
        }
    }
  }

  // Pointer and keys on the image
  function moveTo(...to) {
    const [dx, dy] = to.map((v) => Math.round(clamp(v, -SIDE / 2, SIDE / 2)));
    setView({ dx, dy });
    changed();
  }
  function coverAt([x, y]) {
    state.cover = [x, y].map((v) => clamp(Math.round(v), -COVER + 1, SIDE - 1));
    changed(false);
  }
  let last = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    last = { at: live.spot(canvas, event, SIDE), dx: state.dx, dy: state.dy };
    if (drawing()) stroke(last.at, last.at);
    if (state.mode === "cover") coverAt(last.at.map((v) => v - COVER / 2));
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = live.spot(canvas, event, SIDE);
    if (state.mode === "cover" && (last || event.pointerType === "mouse"))
      coverAt(at.map((v) => v - COVER / 2));
    if (!last) return;
    if (state.mode === "move") moveTo(last.dx + at[0] - last.at[0], last.dy + at[1] - last.at[1]);
    if (!drawing()) return;
    stroke(last.at, at);
    last.at = at;
  });
  canvas.addEventListener("pointerenter", showing({ keyed: false }));
  for (const kind of ["pointerup", "pointercancel"])
    canvas.addEventListener(kind, () => (last = null));
  canvas.addEventListener("keydown", (event) => {
    const space = event.key === " ", by = live.arrow(event) ?? (space && drawing() && [0, 0]);
    if (!by) return;
    if (space) event.preventDefault();
    if (space && !event.repeat) state.lowered = !state.lowered;
    if (state.mode === "move") return moveTo(state.dx + by[0], state.dy + by[1]);
    if (state.mode === "cover")
      return coverAt((state.cover ?? [10, 10]).map((v, k) => v + by[k]));
    const pen = state.pen.map((v, k) => clamp(v + by[k], 0.5, SIDE - 0.5));
    if (state.lowered) stroke(state.pen, pen);
    showing({ pen, keyed: true })();
  });

  // What is beside it: modes, sliders, images to choose from
  const sliders = {};
  function setView(view) {
    Object.assign(state, view);
    for (const key of Object.keys(view)) sliders[key].set(view[key]);
  }
  const option = (key, most) => {
    sliders[key] = live.slider({
      label: say(`nin_${key}`), min: -most, max: most, step: 1, value: 0, show: (v) => decimal(v, 0),
      change: (v) => {
        state[key] = v;
        changed();
      },
    });
    return sliders[key].row;
  };
  const modes = live.buttons(
    say("nin_modes"),
    Object.fromEntries(["move", "draw", "erase", "cover"].map((k) => [k, say(`nin_${k}`)])),
    (mode) => {
      Object.assign(state, { mode, lowered: false, keyed: true });
      if (mode === "cover") return coverAt([10, 10]);
      state.cover = null;
      changed();
    },
  );
  const overlay = live.toggle(say("nin_overlay"), true, () => draw());
  const clear = make("button", { type: "button" }, say("nin_clear"));
  clear.addEventListener("click", () => {
    Object.assign(state, { mode: "draw", cover: null, lowered: false, keyed: true });
    modes.press("draw");
    take(new Uint8Array(N));
  });

  function choose(number) {
    state.follow = true;
    take(images.slice(number * N, (number + 1) * N), data.labels[number]);
  }
  const labels = data.labels.map((c, i) => {
    const hit = c === data.guesses[i];
    return [i, say(hit ? "nin_hit" : "nin_miss", { truth: names[c], guess: names[data.guesses[i]] })];
  });
  const thumbs = live.buttons(say("nin_images"), Object.fromEntries(labels), (key) => choose(+key));
  thumbs.row.classList.add("nin-thumbs");
  [...thumbs.row.children].forEach((button, i) => {
    const icon = make("canvas", { width: SIDE, height: SIDE, "aria-hidden": "true" });
    paint(live.context(icon), images.subarray(i * N, (i + 1) * N));
    button.setAttribute("aria-label", button.textContent);
    button.title = button.textContent;
    button.replaceChildren(icon);
    if (data.labels[i] !== data.guesses[i]) button.classList.add("miss");
  });

  // The ten classes: a small map, its mean, the probability
  const rows = names.map((name, c) => {
    const map = make("canvas", { className: "nin-map", width: INPUT, height: INPUT, "aria-hidden": "true" });
    const logit = make("span", { className: "nin-logit" });
    const part = make("span", { className: "nin-part" });
    const row = make("button", { type: "button", "aria-pressed": "false" },
      map, make("span", { className: "nin-name" }, name), logit, part);
    row.addEventListener("click", showing({ shown: c, follow: false }));
    return { row, map: live.context(map), logit, part };
  });

  // The map of the class shown, cell by cell
  const grid = make("div", { className: "nin-cells", role: "group" });
  const cellName = (k, value) =>
    say("nin_cell", { row: Math.floor(k / CELLS) + 1, column: (k % CELLS) + 1, value });
  const cells = Array.from({ length: CELLS * CELLS }, (_, k) => {
    const cell = make("button", { type: "button", tabIndex: k ? -1 : 0, "aria-label": cellName(k, "…") });
    for (const kind of ["pointerenter", "focus"]) cell.addEventListener(kind, showing({ cell: k }));
    cell.addEventListener("keydown", (event) => {
      const by = live.arrow(event), column = (k % CELLS) + (by?.[0] ?? 0);
      const to = k + (by ? by[0] + CELLS * by[1] : 0);
      if (!by || !cells[to] || column < 0 || column >= CELLS) return;
      cell.tabIndex = -1;
      cells[to].tabIndex = 0;
      cells[to].focus();
    });
    return cell;
  });
  for (const kind of ["pointerleave", "focusout"])
    grid.addEventListener(kind, showing({ cell: null }));
  grid.append(...cells);
  const [about, mean, said, gridTitle, scale] =
    ["nin-about", "nin-mean", "nin-said", "live-name", "live-name"].map((className) => make("p", { className }));

  const show = live.oncePerFrame(() => {
    draw();
    if (!result) return;
    const { maps, logits, most } = result, top = Math.max(...logits);
    const powers = logits.map((z) => Math.exp(z - top)), all = powers.reduce((a, b) => a + b);
    const best = logits.indexOf(top);
    if (state.follow) state.shown = best;
    rows.forEach(({ row, map, logit, part }, c) => {
      row.setAttribute("aria-pressed", c === state.shown);
      overlaid(map, maps[c], 0.25);
      logit.textContent = decimal(logits[c]);
      part.textContent = `${Math.round((100 * powers[c]) / all)}%`;
      part.style.setProperty("--part", powers[c] / all);
    });
    const map = maps[state.shown], name = names[state.shown];
    cells.forEach((cell, k) => {
      cell.textContent = decimal(map[k], map[k] < 100 ? 1 : 0); // as wide as a cell
      cell.style.background = red(map[k] / most);
      cell.setAttribute("aria-label", cellName(k, decimal(map[k])));
    });
    gridTitle.textContent = say("nin_map", { name });
    grid.setAttribute("aria-label", gridTitle.textContent);
    scale.textContent = say("nin_scale", { most: decimal(most, 1) });
    mean.textContent = say("nin_mean", { logit: decimal(logits[state.shown]) });
    let more = "";
    if (state.cell !== null)
      more = say("nin_adds", {
        value: decimal(map[state.cell]), part: decimal(map[state.cell] / map.length, 3),
      });
    else if (state.cover && whole)
      more = say("nin_covered", {
        name, before: decimal(whole.logits[state.shown]), after: decimal(logits[state.shown]),
      });
    else if (state.keyed && drawing()) {
      const [column, row] = state.pen.map(Math.ceil);
      more = say(state.lowered ? "nin_lowered" : "nin_lifted", { row, column });
    }
    about.textContent = more || say("nin_hover");
    const found = { guess: names[best], percent: Math.round((100 * powers[best]) / all) };
    const truth = state.truth < 0 ? "" : `${say("nin_truth", { truth: names[state.truth] })} `;
    const text = top > Math.min(...logits) ? say("nin_says", found) : say("nin_nothing");
    said.textContent = truth + text;
    tell(`${said.textContent} ${more}`.trim());
  });

  canvas.classList.add("nin-image");
  const left = make("div", { className: "nin-left" }, canvas, scale, said);
  const columns = make("div", { className: "nin-columns" }, left,
    make("div", {}, gridTitle, grid, mean, about),
    make("div", { className: "nin-classes", role: "group", "aria-label": say("nin_class") }, ...rows.map((r) => r.row)));
  place.append(
    thumbs.row,
    make("p", { className: "live-name nin-legend" }, say("nin_legend", { percent: decimal(100 * data.accuracy, 1) })),
    make("div", { className: "nin-tools" }, modes.row, clear, overlay.row),
    columns,
    make("div", { className: "nin-view" }, option("dx", SIDE / 2), option("dy", SIDE / 2), option("angle", 180)),
  );
  const tell = live.announcer(place);
  modes.press("move");
  thumbs.press("0");
  live.whenSeen(place, () => choose(0));
});
