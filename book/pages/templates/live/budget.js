// What an Inception block costs: six numbers of channels, drawn as the block's branches,
// and below the parameters and MACs of each with and without the 1x1 reductions.
live.add("budget", (place) => {
  "use strict";
  const { make, say, integer } = live;
  // [input channels, side, c1, c2 reduced, c2, c3 reduced, c3, c4]: the paper's blocks, at
  // the sizes that images of 96x96 pixels lead to.
  const BLOCKS = {
    "3a": [192, 12, 64, 96, 128, 16, 32, 32],
    "3b": [256, 12, 128, 128, 192, 32, 96, 64],
    "4a": [480, 6, 192, 96, 208, 16, 48, 64],
    "4b": [512, 6, 160, 112, 224, 24, 64, 64],
    "4c": [512, 6, 128, 128, 256, 24, 64, 64],
    "4d": [512, 6, 112, 144, 288, 32, 64, 64],
    "4e": [528, 6, 256, 160, 320, 32, 128, 128],
    "5a": [832, 3, 256, 160, 320, 32, 128, 128],
    "5b": [832, 3, 384, 192, 384, 48, 128, 128],
  };
  const NAMES = ["c_in", "side", "c1", "c2r", "c2", "c3r", "c3", "c4"];
  const MOST = [1024, 56, 512, 512, 512, 512, 512, 512];
  let values = [...BLOCKS["3a"]];

  // The convolutions (in, out, kernel) of each branch.
  function branches(reduced) {
    const [c, , c1, c2r, c2, c3r, c3, c4] = values;
    const wide = (r, out, k) => (reduced ? [[c, r, 1], [r, out, k]] : [[c, out, k]]);
    return [[[c, c1, 1]], wide(c2r, c2, 3), wide(c3r, c3, 5), [[c, c4, 1]]];
  }
  const params = (convs) => convs.reduce((n, [i, o, k]) => n + i * o * k * k + o, 0);
  const macs = (convs) =>
    convs.reduce((n, [i, o, k]) => n + i * o * k * k, 0) * values[1] ** 2;

  const sliders = NAMES.map((name, i) =>
    live.slider({
      label: say(`budget_${name}`), name: i < 2 ? say(`budget_${name}`) : "", min: 1, max: MOST[i], step: 1,
      value: values[i],
      change: (v) => {
        values[i] = v;
        presets.press("");
        update();
      },
    }),
  );
  const box = (kind, title, ...rows) =>
    make("div", { className: `budget-box ${kind}` }, make("b", {}, title), ...rows);
  const outs = [0, 1, 2, 3].map(() => make("p", { className: "budget-out" }));
  const branch = (i, ...boxes) => {
    const head = make("p", { className: "budget-branch" }, say("budget_branch", { n: i + 1 }));
    return make("div", { className: "budget-column" }, head, ...boxes, outs[i]);
  };
  const conv = (k) => say("budget_conv", { k });
  const row = (i) => sliders[i].row;
  const drawing = make("div", { className: "budget-drawing" },
    branch(0, box("one", conv("1x1"), row(2))),
    branch(1, box("one", conv("1x1"), row(3)), box("wide", conv("3x3"), row(4))),
    branch(2, box("one", conv("1x1"), row(5)), box("wide", conv("5x5"), row(6))),
    branch(3, box("pool", say("budget_pool")), box("one", conv("1x1"), row(7))),
  );

  // Two tables, with bars in them
  function table(title, count) {
    const head = make("tr", {}, make("td"));
    for (const key of ["with", "without"])
      head.append(make("th", { scope: "col" }, say(`budget_${key}`)));
    const rows = [0, 1, 2, 3, 4].map((i) => {
      const label = i < 4 ? say("budget_branch", { n: i + 1 }) : say("budget_all");
      return make("tr", {}, make("th", { scope: "row" }, label), make("td"), make("td"));
    });
    const made = make("table", {}, make("caption", {}, title));
    made.append(make("thead", {}, head), make("tbody", {}, ...rows));
    const fill = () => {
      const both = [true, false].map((reduced) => {
        const found = branches(reduced).map(count);
        return [...found, found.reduce((a, b) => a + b)];
      });
      const most = Math.max(...both[0].slice(0, 4), ...both[1].slice(0, 4));
      both.forEach((column, j) =>
        column.forEach((n, i) => {
          const cell = rows[i].children[j + 1];
          cell.textContent = integer(n);
          if (i < 4) cell.style.setProperty("--part", n / most);
        }),
      );
      return [both[0][4], both[1][4]];
    };
    return { made, fill };
  }
  const tables = [table(say("budget_params"), params), table(say("budget_macs"), macs)];

  const names = Object.keys(BLOCKS).map((name) => [name, name]);
  const presets = live.buttons(say("budget_presets"), Object.fromEntries(names), (name) => {
    values = [...BLOCKS[name]];
    sliders.forEach((s, i) => s.set(values[i]));
    update();
  });
  const label = make("span", { className: "live-name" }, say("budget_presets"));
  presets.row.prepend(label);
  const note = make("p", { className: "live-note" });
  place.append(
    presets.row,
    make("div", { className: "budget-input" }, row(0), row(1)),
    drawing,
    make("div", { className: "budget-tables" }, tables[0].made, tables[1].made),
    note,
  );
  const tell = live.announcer(place);
  const update = live.oncePerFrame(() => {
    const each = [2, 4, 6, 7].map((i) => values[i]);
    const all = each.reduce((a, b) => a + b);
    each.forEach((n, i) => {
      outs[i].textContent = say("budget_channels", { n: integer(n) });
      outs[i].style.setProperty("--part", n / all);
    });
    tables[0].fill();
    const [less, more] = tables[1].fill();
    const text = say("budget_sum", { n: integer(all), percent: Math.round((100 * less) / more) });
    if (note.textContent !== text) tell((note.textContent = text));
  });
  presets.press("3a");
  update();
});
