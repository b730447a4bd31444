// What live figures share. Each stands in a passage of the text, as a picture with its
// caption; where all goes well, it takes the place of the picture. A figure that cannot
// be made leaves the picture there, with a line that says so.
const live = (() => {
  "use strict";
  const makers = {};
  let t, lang;

  const make = (tag, values = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(values))
      if (key.includes("-") || key === "role" || key === "for")
        made.setAttribute(key, value);
      else made[key] = value;
    made.append(...children);
    return made;
  };

  // A string of the page; {name} in it is replaced.
  const say = (key, values = {}) =>
    t[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const integer = (n) => new Intl.NumberFormat(lang).format(n);
  const decimal = (n, digits = 2) => {
    const text = (Math.abs(n) < 0.5 * 10 ** -digits ? 0 : n).toFixed(digits);
    return text.replace("-", "\u2212");
  };

  // A function that, however often it is called, runs once per frame.
  function oncePerFrame(run) {
    let waiting = false;
    return () => {
      if (!waiting)
        requestAnimationFrame(() => {
          waiting = false;
          run();
        });
      waiting = true;
    };
  }

  // What a screen reader is told, once the reader's hand is still.
  function announcer(place) {
    const region = make("p", { className: "live-said", role: "status" });
    place.append(region);
    let timer;
    return (text) => {
      clearTimeout(timer);
      timer = setTimeout(() => (region.textContent = text), 800);
    };
  }

  // A slider with its value beside it: { row, input, set }.
  function slider({ label, name = label, min, max, step, value, show = String, change }) {
    const input = make("input", { type: "range", min, max, step, "aria-label": label });
    const out = make("output", { className: "live-value", "aria-hidden": "true" });
    const told = () => {
      out.textContent = show(+input.value);
      input.setAttribute("aria-valuetext", out.textContent);
    };
    const set = (to) => {
      input.value = to;
      told();
    };
    input.addEventListener("input", () => {
      told();
      change(+input.value);
    });
    set(value);
    const caption = make("span", { className: "live-name", "aria-hidden": "true" }, name);
    return { row: make("div", { className: "live-slider" }, caption, input, out), input, set };
  }

  // Buttons of which one may be pressed: { row, press }. choices: {key: label}.
  function buttons(label, choices, choose) {
    const made = Object.entries(choices).map(([key, text]) => {
      const button = make("button", { type: "button", "aria-pressed": "false" }, text);
      button.dataset.key = key;
      button.addEventListener("click", () => {
        press(key);
        choose(key);
      });
      return button;
    });
    const press = (key) =>
      made.forEach((b) => b.setAttribute("aria-pressed", b.dataset.key === key));
    const row = make("div", { className: "live-buttons", role: "group", "aria-label": label });
    row.append(...made);
    return { row, press };
  }

  function toggle(label, checked, change) {
    const input = make("input", { type: "checkbox", checked });
    input.addEventListener("change", () => change(input.checked));
    return { row: make("label", { className: "live-toggle" }, input, ` ${label}`), input };
  }

  // The drawing context of a canvas; throws where there is none.
  function context(canvas) {
    const made = canvas.getContext("2d", { willReadFrequently: true });
    if (!made) throw new Error("no canvas");
    return made;
  }

  // The step [x, y] of an arrow key, which then does not scroll the page, or undefined.
  function arrow(event) {
    const step = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
    }[event.key];
    if (step) event.preventDefault();
    return step;
  }

  // Where on a canvas a pointer is, its sides being `side` long.
  function spot(canvas, event, side) {
    const box = canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * side,
      ((event.clientY - box.top) / box.height) * side,
    ];
  }

  // Run once the reader has come near.
  function whenSeen(place, run) {
    if (!("IntersectionObserver" in window)) return run();
    const watch = new IntersectionObserver((found) => {
      if (!found.some((e) => e.isIntersecting)) return;
      watch.disconnect();
      run();
    });
    watch.observe(place);
  }

  function start(box, data) {
    try {
      const still = box.querySelector("p > img")?.parentNode ?? box.firstElementChild;
      const place = make("div", { className: "live-figure", lang });
      place.dataset.figure = box.dataset.live;
      makers[box.dataset.live](place, data);
      still.before(place);
      still.classList.add("live-still");
    } catch {
      box.append(make("p", { className: "note", lang }, say("all_cannot")));
    }
  }

  addEventListener("DOMContentLoaded", () => {
    const data = JSON.parse(document.getElementById("book").textContent).live;
    ({ t, lang } = data);
    for (const box of document.querySelectorAll(".live"))
      start(box, data[box.dataset.live]);
  });
  return {
    add: (name, maker) => (makers[name] = maker),
    make, say, integer, decimal, oncePerFrame, announcer, slider, buttons, toggle, context,
    arrow, spot, whenSeen,
  };
})();
