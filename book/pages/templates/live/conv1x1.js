// A 1x1 convolution of a colour picture: at every pixel, the same matrix mixes the three
// channels. Pixels that are shuffled come out shuffled, since none sees its neighbours.
live.add("conv1x1", (place) => {
  "use strict";
  const { make, say, decimal } = live;
  const SIDE = 32, ZOOM = 7, N = SIDE * SIDE;
  const CHANNELS = ["red", "green", "blue"].map((c) => say(`conv1x1_${c}`));
  const DIAGONAL = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]; // rows of weights, then a bias
  const grey = [0.3, 0.6, 0.1, 0];
  const PRESETS = {
    identity: [DIAGONAL],
    grey: [[...grey, ...grey, ...grey]],
    swap: [[0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0]],
    negative: [DIAGONAL.map((w, i) => (i % 4 === 3 ? 1 : -w))],
    difference: [
      [1, 0, -1, 0, -1, 0, 1, 0, 0, 0, 0, 0],
      [1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0],
    ],
  };

  // The picture, three numbers from 0 to 1 a pixel: a house on a hill in the evening.
  function paint(x, y) {
    const wall = x > 5 && x < 17 && y > 14 && y < 25;
    if (x > 9 && x < 13 && y > 18 && y < 25) return [0.35, 0.2, 0.15];
    if (x > 13 && x < 16 && y > 16 && y < 20) return [0.45, 0.75, 0.95];
    if (wall) return [0.95, 0.88, 0.72];
    if (y > 7 && y < 15 && Math.abs(x - 11) < y - 6) return [0.82, 0.22, 0.18];
    if (Math.hypot(x - 24, y - 8) < 4.3) return [1, 0.83, 0.25];
    if (y > 23 - 3 * Math.sin((x + 4) / 9)) return [0.3, 0.86 - y / 70, 0.24];
    return [0.4 + y / 70, 0.62 + y / 110, 0.95 - y / 130];
  }
  const picture = Float32Array.from({ length: 3 * N }, (_, i) => {
    const p = Math.floor(i / 3);
    return paint(p % SIDE, Math.floor(p / SIDE))[i % 3];
  });

  // An order of the pixels that is the same for every reader.
  const order = Uint16Array.from({ length: N }, (_, i) => i);
  for (let i = N - 1, seed = 7; i > 0; i--) {
    seed = (seed * 16807) % 2147483647;
    const j = seed % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  const shuffled = (X) => {
    const Y = new Float32Array(3 * N);
    for (let p = 0; p < N; p++)
      for (let c = 0; c < 3; c++) Y[3 * p + c] = X[3 * order[p] + c];
    return Y;
  };

  const layers = [[...DIAGONAL], [...DIAGONAL]];
  const state = { two: false, relu: false, shuffle: false, at: 12 + 11 * SIDE };

  // One pixel through the layers: all its values on the way.
  function through(x) {
    const way = [x];
    for (const W of state.two ? layers : layers.slice(0, 1)) {
      const last = way.at(-1);
      const y = [0, 4, 8].map(
        (r) => W[r] * last[0] + W[r + 1] * last[1] + W[r + 2] * last[2] + W[r + 3],
      );
      way.push(state.relu ? y.map((v) => Math.max(v, 0)) : y);
    }
    return way;
  }
  function convolved(X) {
    const Y = new Float32Array(3 * N);
    for (let p = 0; p < 3 * N; p += 3) Y.set(through([X[p], X[p + 1], X[p + 2]]).at(-1), p);
    return Y;
  }

  // The two pictures
  function view(label) {
    const canvas = make("canvas", {
      width: SIDE * ZOOM, height: SIDE * ZOOM, tabIndex: 0, role: "application",
      "aria-label": `${label}. ${say("conv1x1_keys")}`,
    });
    const context = live.context(canvas);
    const small = make("canvas", { width: SIDE, height: SIDE });
    const pixels = live.context(small);
    const image = pixels.createImageData(SIDE, SIDE);
    const draw = (X) => {
      for (let p = 0; p < N; p++) {
        for (let c = 0; c < 3; c++) image.data[4 * p + c] = 255 * X[3 * p + c]; // clamps
        image.data[4 * p + 3] = 255;
      }
      pixels.putImageData(image, 0, 0);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, canvas.width, canvas.height);
      const x = (state.at % SIDE) * ZOOM, y = Math.floor(state.at / SIDE) * ZOOM;
      for (const [grow, color] of [[2, "#fff"], [0.75, "#000"]]) {
        context.strokeStyle = color;
        context.lineWidth = 1.5;
        context.strokeRect(x - grow, y - grow, ZOOM + 2 * grow, ZOOM + 2 * grow);
      }
    };
    const choose = (event) => {
      const [x, y] = live.spot(canvas, event, SIDE).map(Math.floor);
      if (x < 0 || y < 0 || x >= SIDE || y >= SIDE) return;
      state.at = x + SIDE * y;
      update();
    };
    canvas.addEventListener("pointermove", choose);
    canvas.addEventListener("pointerdown", choose);
    canvas.addEventListener("keydown", (event) => {
      const by = live.arrow(event);
      if (!by) return;
      const x = Math.min(Math.max((state.at % SIDE) + by[0], 0), SIDE - 1);
      const y = Math.min(Math.max(Math.floor(state.at / SIDE) + by[1], 0), SIDE - 1);
      state.at = x + SIDE * y;
      asked = true;
      update();
    });
    const head = make("figcaption", {}, label);
    return { box: make("figure", { className: "live-view" }, head, canvas), draw };
  }

  // The matrices
  const sliders = layers.map(() => []);
  function matrix(layer) {
    const grid = make("div", { className: "conv1x1-matrix" });
    const head = ["", ...CHANNELS.map((c) => c[0]), say("conv1x1_bias")];
    const letters = ["R", "G", "B"];
    head.forEach((h, i) =>
      grid.append(
        make("span", { className: "conv1x1-head", "aria-hidden": "true" },
          i && i < 4 ? letters[i - 1] : h),
      ),
    );
    for (let r = 0; r < 3; r++) {
      const to = make("span", { className: "conv1x1-head", "aria-hidden": "true" });
      to.append(`${letters[r]}\u2032`);
      grid.append(to);
      for (let c = 0; c < 4; c++) {
        const i = 4 * r + c;
        const key = c < 3 ? "conv1x1_weight" : "conv1x1_bias_of";
        const made = live.slider({
          label: say(key, { layer: layer + 1, from: CHANNELS[c], to: CHANNELS[r] }),
          name: "", min: -2, max: 2, step: 0.1, value: layers[layer][i], show: (v) => decimal(v, 1),
          change: (v) => {
            layers[layer][i] = v;
            presets.press("");
            update();
          },
        });
        sliders[layer].push(made);
        grid.append(made.row);
      }
    }
    const legend = make("legend", {}, say("conv1x1_layer", { layer: layer + 1 }));
    return make("fieldset", { className: "conv1x1-layer" }, legend, grid);
  }

  function take(name) {
    const preset = PRESETS[name];
    [0, 1].forEach((layer) => {
      layers[layer] = [...(preset[layer] ?? DIAGONAL)];
      sliders[layer].forEach((s, i) => s.set(layers[layer][i]));
    });
    state.two = two.input.checked = preset.length > 1;
    if (state.two) state.relu = relu.input.checked = true;
    update();
  }

  const before = view(say("conv1x1_input")), after = view(say("conv1x1_output"));
  const labels = Object.keys(PRESETS).map((k) => [k, say(`conv1x1_${k}`)]);
  const presets = live.buttons(say("conv1x1_presets"), Object.fromEntries(labels), take);
  const option = (key) =>
    live.toggle(say(`conv1x1_${key}`), false, (on) => {
      state[key] = on;
      update();
    });
  const relu = option("relu"), two = option("two"), shuffle = option("shuffle");
  const first = matrix(0), second = matrix(1);
  const sum = make("p", { className: "conv1x1-sum" });
  const note = make("p", { className: "live-note" });
  const column = make("div", { className: "conv1x1-layers" }, first, second);
  place.append(
    presets.row,
    make("div", { className: "conv1x1-views" }, before.box, column, after.box),
    make("div", { className: "live-options" }, relu.row, two.row, shuffle.row),
    sum, note,
  );
  const tell = live.announcer(place);

  const chip = (x) => {
    const made = make("span", { className: "live-chip" });
    const bytes = x.map((v) => Math.round(255 * Math.min(Math.max(v, 0), 1)));
    made.style.background = `rgb(${bytes})`;
    return made;
  };
  let asked = false; // whether a key chose the pixel: then its values are said, too
  const update = live.oncePerFrame(() => {
    const X = state.shuffle ? shuffled(picture) : picture;
    const Y = convolved(X);
    before.draw(X);
    after.draw(Y);
    second.hidden = !state.two;
    const way = through([...X.subarray(3 * state.at, 3 * state.at + 3)]);
    const parts = way.flatMap((x, i) => [
      i ? " \u2192 " : "", make("span", { className: "whole" }, chip(x), ` (${x.map((v) => decimal(v)).join(", ")})`),
    ]);
    const where = { x: (state.at % SIDE) + 1, y: Math.floor(state.at / SIDE) + 1 };
    sum.replaceChildren(`${say("conv1x1_pixel", where)} `, ...parts);
    const later = state.shuffle && shuffled(convolved(picture));
    const off = later && Y.reduce((most, v, i) => Math.max(most, Math.abs(v - later[i])), 0);
    let text = say("conv1x1_same");
    if (state.shuffle) text = say("conv1x1_shuffled", { off: decimal(off) });
    else if (state.two) text = say(state.relu ? "conv1x1_bent" : "conv1x1_flat");
    if (note.textContent !== text) tell((note.textContent = text));
    if (asked) tell(sum.textContent);
    asked = false;
  });
  presets.press("identity");
  update();
});
