"""The tabbed HTML book: `python -m book.pages.pages [--section S] [--framework F]`.

With `--answers no`, exercises are without their answers.

Each section becomes one self-contained page: the cells as exporter.py renders them,
in a frame with the contents of the book, a search, and links to the neighbours and to
the other languages. Nothing is run here, no framework imported; bodies.py reads sources
and editions.
"""

import argparse
import base64
import hashlib
import html
import json
import os
import re
import sys
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from unicodedata import east_asian_width

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pygments.formatters import HtmlFormatter

from book.pages import TEMPLATES, api, launch, live
from book.pages.bodies import in_language, not_run
from book.pages.links import Links
from book.pages.markup import PageError
from book.source import files
from book.source.book import BOOK, SourceError
from book.source.reading import title_of
from book.translate import catalogues
from book.translate.catalogues import strings
from d2l_utils.frameworks import FRAMEWORKS

# Where a text may be cut off: behind a Chinese or Japanese sentence, or before these.
SENTENCES = "\u3002\uff01\uff1f"
ENDS = " \uff0c\u3002\u3001\uff1b\uff1a"
LIMIT = 2_500_000  # bytes of a page that can still be mailed
STYLES = {"": "xcode", "@media screen and (prefers-color-scheme: dark)": "github-dark"}
SCRIPTS = ("tabs.js", "page.js")
SAID = (
    "copy", "copy_label", "copied", "found", "nothing", "more", "in_answer",
    "in_code", "theme", "theme_auto", "theme_light", "theme_dark", "close",
)  # fmt: skip
BESIDE = ("api", "instructors")  # pages that are no sections, in English only
ENVIRONMENT = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined)


# Pages ---------------------------------------------------------------------------


def search_index(bodies, titles):
    """[[section, its title, parts], ...] of the whole book.

    A part is [anchor, heading, text, [[frameworks, names in their code], ...], whether
    it is a folded answer].
    """
    index = []
    for section, body in bodies.items():
        marks, parts = body.marks, []
        names = {anchor: text for _, anchor, text in marks.headings}
        for anchor in marks.texts | marks.code:
            heading = names.get(marks.answers.get(anchor, anchor), titles[section])
            code = {}
            for name, frameworks in marks.code.get(anchor, {}).items():
                code.setdefault(" ".join(frameworks), []).append(name)
            parts.append([
                anchor, heading, marks.texts.get(anchor, ""),
                [[f, " ".join(names)] for f, names in code.items()],
                int(anchor in marks.answers),
            ])  # fmt: skip
        index.append([section, titles[section], parts])
    return index


def about(body, room=160):
    """The beginning of a section's text, as its description."""
    said = next((text for text in body.marks.texts.values() if text), "")
    return shortened(said, room)


def first_words(text):
    """The same of a page of which there is only the HTML."""
    found = re.search(r"<p>(.*?)</p>", text, re.S)
    said = html.unescape(re.sub("<[^>]*>", "", found[1])) if found else ""
    return shortened(" ".join(said.split()))


def shortened(said, room=160):
    """The beginning of a text, in whole words, clauses, or sentences without spaces.

    room: columns, of which a Chinese or Japanese character takes two.
    """
    widths = (1 + (east_asian_width(c) in "WF") for c in said)
    fits = bisect_right([*accumulate(widths)], room)
    if fits == len(said):
        return said
    head = said[:fits]
    sentences = max(map(head.rfind, SENTENCES)) + 1
    if sentences > fits / 2:
        return head[:sentences]
    end = max(map(head.rfind, ENDS))
    head = head[:end] if end > fits / 2 else head
    return f"{head}…" if east_asian_width(head[-1]) in "WF" else f"{head} …"


def picture(body):
    """`src="..."` of a picture that stands for a page, or ''.

    That of a live figure, where there is one, or else the first.
    """
    named = live.NAMED.search(body.html)
    found = re.search(r'<img (src="[^"]*")', body.html[named.start() if named else 0 :])
    return found[1] if found else ""


def made_with(body, titles):
    """{framework: the lines of HTML that tell how its outputs were made}."""
    foot = body.html.partition('id="execution-facts"')[2]
    texts = re.findall("<pre>(.*?)</pre>", foot, re.S)
    lines = [re.sub("<[^>]*>", "", text).strip().split("\n") for text in texts]
    return dict(zip(titles, lines)) if len(lines) == len(titles) else {}


# A page that compares frameworks shows to all readers what some frameworks alone have.
TO_ALL = ":not(.compares .only):not(.compares .uneven .panel)"


def stylesheet(titles):
    """Our style, the colours of code, and the rule that hides the other tabs."""
    css = [(TEMPLATES / "d2l/style.css").read_text(encoding="utf-8")]
    for media, style in STYLES.items():
        rules = HtmlFormatter(style=style).get_style_defs(".highlight").split("\n")
        rules = [
            re.sub(r"; (?=})| */\*.*", "", r).replace(" { ", "{").replace(" }", "}")
            for r in rules
            if r.startswith(".highlight .") and "background" not in r
        ]
        css.append(
            f"{media} {{\n" * bool(media) + "\n".join(rules) + "\n}" * bool(media)
        )
    css += [
        f'.js[data-framework="{f}"] [data-only]:not([data-only~="{f}"]){TO_ALL}'
        " { display: none }"
        for f in titles
    ]
    return "\n".join(css) + "\n"


def rendered(template, scripts, **values):
    """A template with scripts, and the policy that lets nothing else run or load."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
        for s in scripts
    )
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {hashes}; base-uri 'none'; form-action 'none'"
    )
    return ENVIRONMENT.get_template(template).render(
        scripts=scripts, policy=policy, **values
    )


def page(template, titles, t, **values):
    """A whole page from one of the templates."""
    said = {key: t[key] for key in SAID}
    data = {"t": said, "index": values["index"], "here": values.get("section", "")}
    data["others"] = t["other_words"]
    figures = live.of(values.get("body", ""), t)
    data |= figures.data
    data = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return rendered(
        f"d2l/{template}",
        [
            *((TEMPLATES / "d2l" / s).read_text(encoding="utf-8") for s in SCRIPTS),
            *figures.scripts,
        ],
        t=t,
        titles=titles,
        style=stylesheet(titles) + figures.style,
        data=data.replace("<", "\\u003c"),  # or </script> in a text would end it
        **{"alone": False, "about": "", "compares": False, "english": (), **values},
    )


def with_launch(text, bar):
    """The HTML of the cells with the launch bar below the title."""
    head, end, rest = text.partition("</h1>\n")
    return head + end + bar + rest if end else bar + text


def folder_of(language):
    """The folder of a language's pages, within that of the English ones."""
    return "" if language == "en" else f"{language}/"


def switch(book, language, languages, name):
    """[(language, its name, address)]: a page in the other languages."""
    up = "../" if folder_of(language) else ""
    return [
        (other, strings(book, other)["language"], f"{up}{folder_of(other)}{name}.html")
        for other in languages
        if other != language
    ]


def not_translated(bodies, t):
    """The sections whose text is in English, on pages that are not."""
    return {s for s, body in bodies.items() if body.language != t["lang"]}


def section_page(
    section,
    bodies,
    names,
    links,
    book,
    titles,
    t,
    index,
    others=(),
    alone=False,
    beside=None,
    answers=True,
):
    """The page of one section of a book; others: in other languages, see `switch`.

    alone: it is handed on without the other pages and the notebooks. beside: see
    launch.items. answers: see launch.bar.
    """
    order = list(bodies)
    i = order.index(section)
    up = "../" * ((len(titles) == 1) + bool(folder_of(t["lang"])))
    up = None if alone else up
    language = bodies[section].language
    bar = launch.bar(book, section, titles, t, up, language, beside, answers)
    return page(
        "page.html.j2",
        titles,
        t,
        section=section,
        title=names[section],
        about=about(bodies[section]),
        compares=section in book.compares,
        body=with_launch(links.resolve(section), bar),
        written=bodies[section].language,
        english=not_translated(bodies, t),
        sections=[(s, names[s]) for s in order],
        headings=[h for h in bodies[section].marks.headings if h[0] in (2, 3)],
        before=order[i - 1] if i else None,
        after=order[i + 1] if i + 1 < len(order) else None,
        names=names,
        index=index,
        others=others,
        alone=alone,
    )


def api_body(titles, t, cache):
    """(HTML, headings) of the page of functions and classes."""
    return files.kept(
        cache / f"api-{'-'.join(titles)}.json",
        [t, titles, files.contents(sorted(api.PACKAGE.rglob("*.py")))],
        lambda: api.body(tuple(titles), t["api"], t["permalink"]),
    )


def instructors_body(book, titles, t, cache):
    """(HTML, headings) of the page for instructors."""

    def made():
        from book.pages import instructors  # slow to import, with what it imports

        template = ENVIRONMENT.get_template("instructors.md.j2")
        return instructors.body(book, titles, t, template)

    parts = [catalogues.made_of(book, s, titles, []) for s in book.sections]
    path = cache / f"instructors-{'-'.join(titles)}.json"
    return files.kept(path, [t, titles, parts], made)


def pages_beside(bodies, names, titles, t, index, made):
    """{name: page}: what is in English only; made: {name: (HTML, headings)}."""
    sections = [*((s, names[s]) for s in bodies), *((name, t[name]) for name in made)]
    return {
        name: page(
            "page.html.j2", titles, t, section=name, title=t[name], body=body,
            written="en", sections=sections, headings=headings, before=None,
            after=None, names=names, index=index, others=(), about=first_words(body),
        )
        for name, (body, headings) in made.items()
    }  # fmt: skip


def pages_of(book, sections, titles, language, languages, cache, beside, answers):
    """{name: page} of a book in one language; `index` is the name of its contents.

    answers: see `build`.
    """
    names = {s: section.title for s, section in sections.items()}
    bodies = {s: section.body for s, section in sections.items() if section.body}
    t, index = strings(book, language), search_index(bodies, names)
    links = Links(bodies, book.sections)
    made = {
        section: section_page(
            section, bodies, names, links, book, titles, t, index,
            switch(book, language, languages, section), beside=beside, answers=answers,
        )
        for section in bodies
    }  # fmt: skip
    *some, last = titles.values()
    listed = t["and"].join(filter(None, [t["comma"].join(some), last]))
    opening = f"<p>{t['about'].format(frameworks=listed)}</p>"
    made["index"] = page(
        "contents.html.j2", titles, t, title=t["book"], names=names, bodies=bodies,
        opening=opening, about=first_words(opening),
        sections=sections, index=index, picture=picture,
        beginning=lambda body: about(body, 300), live=live.NAMED, compares_in=[
            s for s in book.compares if s in bodies],
        made_with=made_with(next(iter(bodies.values())), titles),
        others=switch(book, language, languages, "index"),
        beside=BESIDE if answers else BESIDE[:1], up="../" * bool(folder_of(language)),
        english=not_translated(bodies, t),
    )  # fmt: skip
    if language == "en":
        others = {"api": api_body(titles, t, cache)}
        if answers:  # for it says what answers are graded by
            others["instructors"] = instructors_body(book, titles, t, cache)
        made |= pages_beside(bodies, names, titles, t, index, others)
    return made


def single(section, cells, editions, path, book):
    """The page of a notebook that is not part of a book known here."""
    from book.pages.exporter import render

    t, titles = strings(book), book.titles()
    names = {section: title_of(cells, section)}
    bodies = {section: render(cells, editions, titles, path.parent, t, strict=False)}
    return section_page(
        section, bodies, names, Links(bodies), book, titles, t,
        search_index(bodies, names), alone=True,
    )  # fmt: skip


# The command --------------------------------------------------------------------


def build(book, out, only=None, framework=None, answers=True):
    """Write the pages to `out`; returns the paths of those that changed and of all.

    only: one section alone; framework: without tabs, for this one; answers: those of
    exercises are shown. The contents are written with the whole book. Pages of another
    language are in a folder of its name.
    Raises PageError for what cannot be built.
    """
    out, titles = Path(out), book.titles(framework)
    cache, english, pages = out.parent / f"{out.name}-cache", None, {}
    languages = catalogues.languages(book, *book.sections)
    for language in languages:
        sections = in_language(book, titles, language, cache, english, answers)
        english = english or sections
        if not any(section.body for section in sections.values()):
            raise PageError("No edition has stored outputs: run `make execute`.")
        if only and not sections[only].body:
            raise not_run(book, only, next(iter(titles)))
        beside = out if len(titles) > 1 else out.parent
        made = pages_of(
            book, sections, titles, language, languages, cache, beside, answers
        )
        for name, text in made.items():
            path = out / folder_of(language) / f"{name}.html"
            whole = name in ("index", *BESIDE)  # of the whole book
            if only in (None, name) or (whole and not path.exists()):
                pages[path] = text
    changed = []
    for path, text in pages.items():
        size = len(text.encode())
        if size > LIMIT:
            raise PageError(
                f"{os.path.relpath(path)} would have {size:,} bytes, more than the "
                f"{LIMIT:,} that can be mailed: make its figures smaller."
            )
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            files.write(path, text)
            changed.append(path)
    return changed, list(pages)


def main(argv=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--section", choices=book.sections, help="this page only")
    parser.add_argument("--framework", choices=FRAMEWORKS, help="without tabs, for one")
    parser.add_argument("--out", default="build/html", help="folder of the pages")
    parser.add_argument("--answers", choices=("yes", "no"), default="yes")
    args = parser.parse_args(argv)
    out = Path(args.out, args.framework or "")
    try:
        if not book.github():
            print(
                "No repository on GitHub is set, in pyproject.toml or as git's origin: "
                "pages will have only the download button."
            )
        answers = args.answers == "yes"
        changed, made = build(book, out, args.section, args.framework, answers)
        for path in made:
            note = "" if path in changed else "  (as before)"
            print(f"{path}  {path.stat().st_size / 1000:.0f} kB{note}")
    except (PageError, SourceError, api.ApiError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
