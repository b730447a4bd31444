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

  // A page has the same blocks in every language: the switch leads to the one in view,
  // with the same framework. Without this, it leads to the page.
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

  // The texts of the whole book are in every page; every word must be in a part. Where
  // words are not spaced, what is not found as it is typed is looked for word by word.
  function find(index, query) {
    query = query.normalize("NFKC").toLowerCase();
    const words = query.split(/\s+/).filter(Boolean);
    const found = search(index, words);
    return found.length ? found : search(index, words.flatMap(pieces));
  }

  function pieces(word) {
    if (!/[\u3040-\u9fff]/.test(word) || !Intl.Segmenter) return [word];
    const of = new Intl.Segmenter(document.documentElement.lang, { granularity: "word" });
    const made = [...of.segment(word)].filter((s) => s.isWordLike).map((s) => s.segment);
    const telling = made.filter((s) => !/^[\u3040-\u309f]{1,2}$/.test(s)); // no particles
    return telling.length ? telling : [word];
  }

  function search(index, words) {
    const found = [];
    for (const [section, title, parts] of index) {
      for (const [anchor, heading, text] of parts) {
        const head = heading.toLowerCase(), body = text.toLowerCase();
        if (!words.every((w) => head.includes(w) || body.includes(w))) continue;
        const score = words.filter((w) => head.includes(w)).length;
        const at = body.indexOf(words.find((w) => body.includes(w)) ?? "");
        found.push({ section, title, anchor, heading, text, at, score, words });
      }
    }
    return found.sort((a, b) => b.score - a.score);
  }

  function excerpt({ text, at, words }) {
    const from = Math.max(at - 40, 0);
    const part = text.slice(from, at + 110);
    const line = make("span", { className: "excerpt" });
    line.append(from > 0 ? "… " : "");
    const escaped = words.map((w) => w.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    for (const [i, piece] of part.split(RegExp(`(${escaped.join("|")})`, "i")).entries())
      line.append(i % 2 ? make("mark", { textContent: piece }) : piece);
    line.append(at + 110 < text.length ? " …" : "");
    return line;
  }

  function addSearch({ t, index, here }) {
    const box = document.getElementById("search");
    const list = document.getElementById("found");
    const count = document.querySelector(".search .count");
    const close = () => {
      list.hidden = true;
      count.textContent = "";
    };
    box.addEventListener("input", () => {
      const query = box.value.trim();
      if (query.length < 2 && !/[^\x00-\x7f]/.test(query)) return close();
      const found = find(index, query);
      list.replaceChildren(
        ...found.slice(0, 12).map((f) => {
          const page = f.section === here ? "" : `${f.section}.html`;
          const hash = f.anchor ? `#${encodeURIComponent(f.anchor)}` : "";
          const link = make("a", { href: page + hash || "#text" });
          link.append(make("b", { textContent: f.heading }));
          if (f.heading !== f.title)
            link.append(make("small", { textContent: ` ${f.title}` }));
          link.append(excerpt(f));
          const item = make("li");
          item.append(link);
          return item;
        }),
      );
      list.hidden = !found.length;
      count.textContent = found.length
        ? t.found.replace("{count}", found.length)
        : t.nothing;
    });
    list.addEventListener("click", (event) => {
      if (event.target.closest("a")) close();
    });
    document.querySelector(".search").addEventListener("keydown", (event) => {
      const links = [box, ...list.querySelectorAll("a")];
      const at = links.indexOf(document.activeElement);
      const to = { ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
      if (event.key === "Escape") {
        box.value = "";
        close();
        box.focus();
      } else if (to !== undefined && links[to] && !list.hidden) {
        event.preventDefault();
        links[to].focus();
      }
    });
    document.addEventListener("click", (event) => {
      if (!event.target.closest(".search")) close();
    });
  }

  addEventListener("DOMContentLoaded", () => {
    const book = JSON.parse(document.getElementById("book").textContent);
    addCopyButtons(book.t);
    followReading();
    addSearch(book);
    keepPlace();
  });
  addEventListener("load", goToPlace); // with the pictures, all has its height
})();
