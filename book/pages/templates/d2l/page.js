// What a page does besides its tabs: copy buttons, the mark at the current section in
// the contents, and the search. Without this script the page is complete.
(() => {
  "use strict";
  const make = (tag, values) => Object.assign(document.createElement(tag), values);

  // A button on every code cell copies its code, and only that.
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", { value: text });
      area.style.position = "fixed";
      document.body.append(area);
      area.select();
      document.execCommand("copy"); // where the clipboard needs a secure origin
      area.remove();
    }
  }

  function addCopyButtons(t) {
    for (const input of document.querySelectorAll(".input")) {
      const button = make("button", { type: "button", className: "copy" });
      button.textContent = t.copy;
      button.ariaLabel = t.copy_label;
      button.addEventListener("click", async () => {
        await copy(input.querySelector("pre").textContent.replace(/\n$/, ""));
        button.focus({ preventScroll: true });
        button.textContent = button.ariaLabel = t.copied;
        setTimeout(() => {
          button.textContent = t.copy;
          button.ariaLabel = t.copy_label;
        }, 2000);
      });
      input.append(button);
    }
  }

  // The colours follow the system, or the reader's choice, before the page is drawn.
  const THEMES = { auto: "\u25d0", light: "\u2600", dark: "\u263e" };
  const rules = [...document.styleSheets[0].cssRules]
    .filter((rule) => rule.media?.mediaText.includes("prefers-color-scheme: dark"))
    .map((rule) => [rule.media, rule.media.mediaText]);
  function paint(theme) {
    document.documentElement.style.colorScheme = theme === "auto" ? "" : theme;
    for (const [media, text] of rules)
      media.mediaText = { light: "not all", dark: "screen" }[theme] ?? text;
  }
  let theme = "auto";
  try {
    theme = localStorage.getItem("d2l-theme") ?? theme;
  } catch {} // storage is blocked
  if (!(theme in THEMES)) theme = "auto";
  paint(theme);

  function addThemes(t) {
    const button = make("button", { type: "button", className: "theme" });
    const show = () => {
      button.textContent = THEMES[theme];
      button.title = button.ariaLabel = t.theme.replace("{now}", t[`theme_${theme}`]);
    };
    button.addEventListener("click", () => {
      const all = Object.keys(THEMES);
      theme = all[(all.indexOf(theme) + 1) % all.length];
      paint(theme);
      show();
      try {
        localStorage.setItem("d2l-theme", theme);
      } catch {} // for this page alone
    });
    show();
    document.querySelector(".search").before(button);
  }

  // A picture that is shown smaller than it is can be enlarged.
  function enlarge(img, t) {
    const dialog = make("dialog", { className: "enlarged", ariaLabel: img.alt });
    const close = make("button", { type: "button", textContent: t.close });
    const box = make("div", { tabIndex: 0 });
    box.append(make("img", { src: img.src, alt: img.alt }));
    dialog.append(close, box);
    dialog.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove()); // focus goes back by itself
    document.body.append(dialog);
    dialog.showModal();
  }

  function addEnlarging(t) {
    for (const img of document.querySelectorAll("main img")) {
      if (img.closest("a") || img.naturalWidth <= 1.1 * img.clientWidth) continue;
      if (img.role === "button") continue;
      img.role = "button";
      img.tabIndex = 0;
      img.addEventListener("click", () => enlarge(img, t));
      img.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        enlarge(img, t);
      });
    }
  }

  // Figures and references are shown beside the words that mention them.
  function addPreviews() {
    let box = null, leaving = 0;
    const hide = () => {
      box?.remove();
      box = null;
    };
    const show = (link) => {
      clearTimeout(leaving);
      hide();
      const target = document.getElementById(decodeURIComponent(link.hash.slice(1)));
      const on = link.pathname === location.pathname && target;
      if (!on || !target.checkVisibility()) return;
      box = make("div", { className: "preview", ariaHidden: "true" });
      let before = target.previousElementSibling;
      if (target.matches(".caption")) {
        // Of several tabs' pictures, that of the chosen one; or what a live figure replaces.
        const seen = [...(before?.querySelectorAll("img") ?? [])].filter(
          (i) => i.clientWidth || i.closest(".live-still"));
        if (seen.length) box.append(make("img", { src: seen.at(-1).src, alt: "" }));
      }
      box.append(...[...target.cloneNode(true).childNodes]);
      for (const part of box.querySelectorAll("a")) part.tabIndex = -1;
      document.body.append(box);
      const at = link.getBoundingClientRect();
      const left = Math.min(at.left, document.documentElement.clientWidth - box.offsetWidth - 16);
      const above = at.top - box.offsetHeight - 8;
      box.style.left = `${Math.max(8, left) + scrollX}px`;
      box.style.top = `${(above > 60 ? above : at.bottom + 8) + scrollY}px`;
      box.addEventListener("pointerenter", () => clearTimeout(leaving));
      box.addEventListener("pointerleave", hide);
    };
    const leave = () => (leaving = setTimeout(hide, 250));
    for (const link of document.querySelectorAll("main :is(a.figure, a.reference)")) {
      link.addEventListener("pointerenter", (e) => e.pointerType === "mouse" && show(link));
      link.addEventListener("pointerleave", leave);
      link.addEventListener("focus", () => link.matches(":focus-visible") && show(link));
      link.addEventListener("blur", hide);
      link.addEventListener("click", hide);
    }
    addEventListener("keydown", (event) => event.key === "Escape" && hide());
  }

  // The contents stand open beside the text where there is room.
  function followReading() {
    const side = document.querySelector(".side");
    if (!side) return;
    const wide = matchMedia("(min-width: 64rem)");
    const place = () => (side.open = wide.matches);
    wide.addEventListener("change", place);
    place();
    const links = [...side.querySelectorAll(".headings a")];
    const heads = links.map((a) =>
      document.getElementById(decodeURIComponent(a.hash.slice(1))),
    );
    let waiting = false;
    const mark = () => {
      waiting = false;
      const passed = heads.filter((h) => h.getBoundingClientRect().top < 120);
      const end = innerHeight + scrollY >= document.body.scrollHeight - 2;
      const at = end ? heads.length - 1 : passed.length - 1;
      links.forEach((a, i) => {
        if (i === at) a.setAttribute("aria-current", "true");
        else a.removeAttribute("aria-current");
      });
      const box = side.querySelector("nav");
      const link = links[at];
      if (link && side.open && wide.matches) {
        const by = link.getBoundingClientRect(), of = box.getBoundingClientRect();
        if (by.top < of.top) box.scrollTop -= of.top - by.top + 40;
        if (by.bottom > of.bottom) box.scrollTop += by.bottom - of.bottom + 40;
      }
    };
    addEventListener(
      "scroll",
      () => {
        if (!waiting) requestAnimationFrame(mark);
        waiting = true;
      },
      { passive: true },
    );
    mark();
  }

  // A page has the same blocks in every language: the links to other languages lead to
  // the block in view, with the same framework; without this, to the top of the page.
  const blocks = () => [...document.querySelectorAll("main > :not(.note)")];
  const HEADER = 70; // pixels that the header hides

  function goToPlace() {
    const url = new URL(location.href);
    const [number, part] = (url.searchParams.get("at") ?? "").split("-").map(Number);
    const block = blocks()[number];
    if (!url.searchParams.has("at") || !block) return;
    const box = block.getBoundingClientRect();
    scrollTo({ top: scrollY + box.top + (part / 100) * box.height - HEADER });
    url.searchParams.delete("at");
    try {
      history.replaceState(null, "", url);
    } catch {} // a sandboxed frame
  }

  function keepPlace() {
    for (const link of document.querySelectorAll(".languages a"))
      link.addEventListener("click", () => {
        const to = new URL(link.href);
        to.searchParams.set("framework", document.documentElement.dataset.framework);
        const all = blocks();
        const number = all.findIndex((b) => b.getBoundingClientRect().bottom > HEADER);
        if (scrollY > 0 && number >= 0) {
          const box = all[number].getBoundingClientRect();
          const part = Math.max(0, (HEADER - box.top) / box.height);
          to.searchParams.set("at", `${number}-${Math.round(100 * part)}`);
        }
        link.href = to;
      });
  }

  // What an address leads to may be in a folded answer, which is opened. In older
  // addresses, a heading's anchor begins with its number.
  function unfold() {
    const named = decodeURIComponent(location.hash.slice(1));
    const target = document.getElementById(named);
    const now = document.getElementById(named.replace(/^\d+(\.\d+)+-/, ""));
    if (!target && now) location.replace(`#${encodeURIComponent(now.id)}`);
    const folds = [];
    for (let e = target; e; e = e.parentElement)
      if (e.matches("details.answer") && !e.open) folds.push(e);
    for (const fold of folds) fold.open = true;
    if (folds.length) target.scrollIntoView();
  }

  // The texts of the whole book are in every page. A part is found if it has all words of
  // the query. A query that is not found as it is typed is put into the book's words,
  // then, in Chinese and Japanese, which have no spaces, cut into words.
  function find(index, query, others) {
    query = query.normalize("NFKC").toLowerCase();
    let ours = query;
    for (const [word, written] of Object.entries(others))
      ours = ours.replaceAll(word, written.toLowerCase());
    const typed = query.split(/\s+/).filter(Boolean);
    const put = ours.split(/\s+/).filter(Boolean);
    for (const words of [typed, put, put.flatMap(pieces)]) {
      const found = search(index, words);
      if (found.length) return found;
    }
    return [];
  }

  const WIDE = /[\u3040-\u9fff]/;
  const MARKS = /^[\s、。，：；？！）」』”]*/; // no line begins with them

  function pieces(word) {
    if (!WIDE.test(word) || !Intl.Segmenter) return [word];
    const { lang } = document.documentElement;
    const particle = lang === "zh" ? /^[的了是和与在]$/ : /^[\u3040-\u309f]{1,2}$/;
    const of = new Intl.Segmenter(lang, { granularity: "word" });
    const made = [...of.segment(word)].filter((s) => s.isWordLike).map((s) => s.segment);
    const telling = made.filter((s) => !particle.test(s));
    return telling.length ? telling : [word];
  }

  function search(index, words) {
    const found = [];
    for (const [section, title, parts] of index) {
      for (const [anchor, heading, text, code, answer] of parts) {
        const head = heading.toLowerCase(), body = text.toLowerCase();
        const names = code.flatMap(([tabs, said]) =>
          said.split(" ").map((name) => ({ name, low: name.toLowerCase(), tabs })),
        );
        const named = [], inText = (w) => head.includes(w) || body.includes(w);
        for (const w of words.filter((w) => !inText(w)))
          named.push(...names.filter((n) => n.low.includes(w)));
        if (!words.every((w) => inText(w) || named.some((n) => n.low.includes(w)))) continue;
        const score = words.filter((w) => head.includes(w)).length;
        const at = body.indexOf(words.find((w) => body.includes(w)) ?? "");
        const exercise = section.endsWith("_exercises");
        found.push({
          section, title, anchor, heading, text, at, score, words, named, answer, exercise,
        });
      }
    }
    // Lessons before exercises, answers last; of these, headings, then text, then code.
    return found.sort((a, b) => !!a.answer - !!b.answer || a.exercise - b.exercise ||
      b.score - a.score || !!a.named.length - !!b.named.length);
  }

  // A passage of the text around what was found, in whole words; of an answer, only that
  // it is one. A Chinese or Japanese character takes the room of two.
  function excerpt({ text, at, words, named, answer }, t) {
    const line = make("span", { className: "excerpt" });
    const room = WIDE.test(text) ? 0.5 : 1;
    let from = Math.max(at - 40 * room, 0), to = at + 110 * room;
    if (from > 0) from += /^\S{0,20}\s/.exec(text.slice(from, at))?.[0].length ?? 0;
    if (from > 0) from += MARKS.exec(text.slice(from, at))[0].length;
    if (to < text.length) to -= /\s\S{0,20}$/.exec(text.slice(at, to))?.[0].length ?? 0;
    let part = text.slice(from, to);
    if (answer) {
      line.textContent = t.in_answer;
      return line;
    }
    if (named.length) {
      part = `${t.in_code} ${[...new Set(named.map((n) => n.name))].slice(0, 4).join(", ")}`;
      from = to = 0;
    }
    line.append(from > 0 ? "… " : "");
    const escaped = words.map((w) => w.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    for (const [i, piece] of part.split(RegExp(`(${escaped.join("|")})`, "i")).entries())
      line.append(i % 2 ? make("mark", { textContent: piece }) : piece);
    line.append(to && to < text.length ? " …" : "");
    return line;
  }

  function addSearch({ t, index, here, others }) {
    const box = document.getElementById("search");
    const list = document.getElementById("found");
    const count = document.querySelector(".search .count");
    const close = () => {
      list.hidden = true;
      count.textContent = "";
    };
    // A name that is not in the chosen tab's code leads to a tab that has it.
    const tab = ({ named }) => {
      const tabs = named.length ? named[0].tabs.split(" ") : [];
      const now = document.documentElement.dataset.framework;
      return tabs.length && !tabs.includes(now) ? `?framework=${tabs[0]}` : "";
    };
    const item = (f) => {
      const tabs = tab(f), page = f.section === here && !tabs ? "" : `${f.section}.html`;
      const hash = f.anchor ? `#${encodeURIComponent(f.anchor)}` : "";
      const link = make("a", { href: page + tabs + hash || "#text" });
      link.append(make("b", { textContent: f.heading }));
      if (f.heading !== f.title) link.append(make("small", { textContent: ` ${f.title}` }));
      link.append(excerpt(f, t));
      const made = make("li");
      made.append(link);
      return made;
    };
    const first = 12;
    box.addEventListener("input", () => {
      const query = box.value.trim();
      if (query.length < 2 && !/[^\x00-\x7f]/.test(query)) return close();
      const found = find(index, query, others);
      list.replaceChildren(
        ...found.slice(0, first).map(item),
      );
      if (found.length > first) {
        const more = make("button", { type: "button", className: "more" });
        more.textContent = t.more.replace("{count}", found.length - first);
        more.addEventListener("click", (event) => {
          event.stopPropagation(); // the document would close the list
          const rest = found.slice(first).map(item);
          more.parentElement.replaceWith(...rest);
          rest[0].firstChild.focus();
        });
        const last = make("li");
        last.append(more);
        list.append(last);
      }
      list.hidden = !found.length;
      count.textContent = found.length
        ? t.found.replace("{count}", found.length)
        : t.nothing;
    });
    list.addEventListener("click", (event) => {
      const link = event.target.closest("a");
      if (!link) return;
      close();
      if (link.href === location.href) unfold(); // there will be no hashchange
    });
    document.querySelector(".search").addEventListener("keydown", (event) => {
      // These keys choose characters while Chinese or Japanese is typed; Safari sends
      // the last one, as 229, when that has ended.
      if (event.isComposing || event.keyCode === 229) return;
      const links = [box, ...list.querySelectorAll("a, button")];
      const at = links.indexOf(document.activeElement);
      const to = { ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
      if (event.key === "Enter" && at === 0 && links[1] && !list.hidden) {
        event.preventDefault();
        links[1].click();
      } else if (event.key === "Escape") {
        box.value = "";
        close();
        box.focus();
      } else if (to !== undefined && links[to] && !list.hidden) {
        event.preventDefault();
        links[to].focus();
      }
    });
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, textarea, [contenteditable]");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey)
        return;
      event.preventDefault();
      box.focus();
    });
    document.addEventListener("click", (event) => {
      if (!event.target.closest(".search")) close();
    });
  }

  addEventListener("DOMContentLoaded", () => {
    const book = JSON.parse(document.getElementById("book").textContent);
    addCopyButtons(book.t);
    addThemes(book.t);
    addPreviews();
    addEventListener("load", () => addEnlarging(book.t)); // their sizes are known
    addEventListener("resize", () => addEnlarging(book.t));
    followReading();
    addSearch(book);
    keepPlace();
    unfold();
  });
  addEventListener("hashchange", unfold);
  // Blocks have their heights only once pictures are loaded and live figures drawn.
  addEventListener("load", () =>
    requestAnimationFrame(() => requestAnimationFrame(goToPlace)));
})();
