// Tabs keyed by framework: all groups of a page show the same one. The choice comes
// from the link (?framework=jax), else from the last visit, else it is the first.
// Without this script nothing is hidden.
(() => {
  "use strict";
  const KEY = "d2l-framework";
  const root = document.documentElement;
  const known = root.dataset.frameworks.split(" ");
  const tabs = () => document.querySelectorAll('[role="tab"]');

  function recall() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage is blocked
    }
  }

  // The choice is put into the address, so that it can be handed on. Where storage is
  // blocked, the links to other pages carry it, too.
  function remember(framework) {
    const url = new URL(location.href);
    try {
      localStorage.setItem(KEY, framework);
    } catch {
      for (const link of document.querySelectorAll("a[href*='.html']")) {
        if (link.origin !== location.origin) continue;
        const to = new URL(link.href);
        to.searchParams.set("framework", framework);
        link.href = to;
      }
    }
    url.searchParams.set("framework", framework);
    try {
      history.replaceState(null, "", url);
    } catch {} // a sandboxed frame: the choice holds for this view
  }

  function show(framework) {
    root.dataset.framework = framework;
    for (const tab of tabs()) {
      const on = tab.dataset.framework === framework;
      tab.setAttribute("aria-selected", on);
      tab.tabIndex = on ? 0 : -1;
    }
    // What scrolls sideways can be reached and scrolled by keyboard.
    for (const box of document.querySelectorAll("pre, .scroll, .formula")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  // The tab stays where it is on the screen, whatever grows or shrinks above it.
  function choose(tab) {
    const top = tab.getBoundingClientRect().top;
    show(tab.dataset.framework);
    scrollBy({ top: tab.getBoundingClientRect().top - top, behavior: "instant" });
    remember(tab.dataset.framework);
  }

  const linked = new URLSearchParams(location.search).get("framework");
  const choice = [linked, recall(), known[0]].find((f) => known.includes(f));
  root.dataset.framework = choice; // before the body is drawn
  root.classList.add("js");

  addEventListener("DOMContentLoaded", () => {
    show(root.dataset.framework);
    if (choice === linked) remember(choice); // now that there are links
  });
  addEventListener("storage", (event) => {
    if (event.key === KEY && known.includes(event.newValue)) show(event.newValue);
  });
  addEventListener("click", (event) => {
    const button = event.target.closest('[role="tab"], .elsewhere button');
    if (!button) return;
    const to = button.dataset.framework; // its tab, unlike the button, stays displayed
    const tab = button.closest(".group").querySelector(`[role="tab"][data-framework="${to}"]`);
    choose(tab);
    if (tab !== button) tab.focus({ preventScroll: true });
  });
  addEventListener("keydown", (event) => {
    const tab = event.target.closest('[role="tab"]');
    if (!tab || event.ctrlKey || event.metaKey || event.altKey) return;
    const group = [...tab.parentElement.children];
    const at = group.indexOf(tab);
    const to = {
      ArrowLeft: (at + group.length - 1) % group.length,
      ArrowRight: (at + 1) % group.length,
      Home: 0,
      End: group.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    group[to].focus({ preventScroll: true });
    choose(group[to]);
  });
})();
