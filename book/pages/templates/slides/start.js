// Starts the deck: arrow keys, Esc for the overview, S for the speaker's window,
// ?print-pdf for printing.
Reveal.initialize({
  width: 1280,
  height: 720,
  margin: 0.02,
  center: false,
  hash: true,
  history: false,
  transition: "none",
  slideNumber: "c/t",
  controlsTutorial: false,
  pdfSeparateFragments: false,
  pdfMaxPagesPerSlide: 1,
});

// What is said about a slide, its minutes, and the time since the window was opened.
(() => {
  "use strict";
  const said = JSON.parse(document.querySelector(".reveal").dataset.said);
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const STYLE =
    "body { margin: 1.5rem; font: 1.25rem/1.5 system-ui, sans-serif }" +
    "em:is(:lang(ja), :lang(zh)) { font-style: normal; font-weight: 600 }" +
    "header { display: flex; justify-content: space-between; gap: 2rem; color: #59636e }" +
    "h1 { font-size: 1.6rem } pre { white-space: pre-wrap; font-size: 1rem }";
  const all = () => Reveal.getSlides();
  const minutes = (slides) =>
    slides.reduce((sum, slide) => sum + Number(slide.dataset.minutes), 0);
  const clock = (m) => `${Math.floor(m / 60)}:${String(m % 60).padStart(2, "0")}`;
  let speaker = null, opened = 0;

  function say() {
    if (!speaker || speaker.closed) return;
    const slides = all(), now = slides.indexOf(Reveal.getCurrentSlide());
    const make = (tag, text) => {
      const made = speaker.document.createElement(tag);
      made.textContent = text;
      return made;
    };
    const title = (slide) =>
      (slide?.querySelector("h1, h2")?.textContent ?? "").replace("\u00b6", "");
    const from = minutes(slides.slice(0, now)), to = from + minutes([slides[now]]);
    const head = make("header", "");
    const passed = Math.floor((Date.now() - opened) / 60000);
    head.append(
      make("span", fill(said.speaker_place, {
        n: now + 1, all: slides.length, from: clock(from), to: clock(to),
      })),
      make("span", fill(said.speaker_time, { passed: clock(passed) })),
    );
    const text = speaker.document.createElement("main");
    text.innerHTML = slides[now].querySelector(".notes").innerHTML;
    const after = title(slides[now + 1]);
    const next = make("p", after && fill(said.speaker_next, { title: after }));
    speaker.document.body.replaceChildren(head, make("h1", title(slides[now])), text, next);
  }

  function open() {
    speaker = window.open("", "speaker", "width=900,height=700");
    if (!speaker) return; // the browser keeps windows from opening
    opened ||= Date.now();
    speaker.document.title = document.title;
    speaker.document.documentElement.lang = document.documentElement.lang;
    const style = speaker.document.createElement("style");
    style.textContent = STYLE;
    speaker.document.head.replaceChildren(style);
    const fonts = getComputedStyle(document.querySelector(".reveal")).fontFamily;
    speaker.document.body.style.fontFamily = fonts;
    speaker.addEventListener("keydown", (event) => {
      if (["ArrowRight", " ", "PageDown"].includes(event.key)) Reveal.next();
      if (["ArrowLeft", "PageUp"].includes(event.key)) Reveal.prev();
    });
    say();
  }

  Reveal.addKeyBinding({ keyCode: 83, key: "S", description: said.speaker }, open);
  Reveal.on("slidechanged", say);
  setInterval(say, 20000);
})();
