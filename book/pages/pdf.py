"""The pages as PDF: `python -m book.pages.pdf [--section S] [--framework F]`.

Printed by Chromium from build/html, where the style for print shows one framework;
with page numbers, a title at the head, and a title page. `book.pdf` is the whole.
"""

import argparse
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from book.source import files
from book.source.book import SECTIONS
from d2l_utils.frameworks import FRAMEWORKS

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def browser():
    """The path of a Chromium; raises SystemExit where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit(f"To print, one of these must be installed: {', '.join(BROWSERS)}.")
    return found


MAIN = re.compile(r"<main\b[^>]*>(.*)</main>", re.S)
LICENCE = re.compile(r'<footer class="licence">.*?</footer>', re.S)
PAPERS = ("a4", "letter")
SHEET = """<style>
@page {{
  size: {paper}; margin: 20mm 17mm;
  @top-left {{ content: {title}; font: 8pt sans-serif; color: #555 }}
  @top-right {{ content: {framework}; font: 8pt sans-serif; color: #555 }}
  @bottom-center {{ content: counter(page) " / " counter(pages); font: 8pt sans-serif }}
}}
@page :first {{ @top-left {{ content: none }} @top-right {{ content: none }} }}
</style>
"""


def title_in(text):
    """The title of a page, without that of the book."""
    return html.unescape(re.search("<title>(.*?)( \N{EN DASH} |</title>)", text)[1])


def behind_title(pages, framework):
    """The HTML of one page that holds one or all others, behind a title page.

    pages: {section: its HTML}. Anchors get the name of their section, links follow.
    """
    first = next(iter(pages.values()))
    name = re.search("<title>.*? \N{EN DASH} (.*?)</title>", first)[1]
    rows, mains = [], []
    for section, text in pages.items():
        body = MAIN.search(text)[1]
        body = re.sub(r' id="([^"]*)"', rf' id="{section}--\1"', body)
        body = re.sub(r'href="#([^"]*)"', rf'href="#{section}--\1"', body)
        for other in pages:
            body = body.replace(f'href="{other}.html#', f'href="#{other}--')
            body = body.replace(f'href="{other}.html"', f'href="#{other}--"')
        rows.append(
            f'<li><a href="#{section}--">{html.escape(title_in(text))}</a></li>'
        )
        mains.append(f'<main id="{section}--">{body}</main>')
    head, licence = first.partition('<div class="frame">')[0], LICENCE.search(first)
    title, about = html.escape(title_in(first)), f"<p>{name}</p>"
    if len(pages) > 1:
        title, about = name, f"<ul>{''.join(rows)}</ul>"
        head = re.sub("<title>.*?</title>", f"<title>{name}</title>", head)
    title = (
        f'<main class="title-page"><h1>{title}</h1>\n'
        f"<p>{FRAMEWORKS[framework].title}</p>\n{about}\n"
        f"{licence[0] if licence else ''}</main>"
    )
    return f"{head}{title}{''.join(mains)}\n</body>\n</html>\n"


def print_page(chromium, text, framework, path, paper=PAPERS[0]):
    """Print the HTML of a page, with one framework's tabs, to a PDF."""
    sheet = SHEET.format(
        paper=paper,
        title=json.dumps(title_in(text), ensure_ascii=False),
        framework=json.dumps(FRAMEWORKS[framework].title),
    )
    with tempfile.TemporaryDirectory() as profile:
        page, printed = Path(profile, "page.html"), Path(profile, "page.pdf")
        files.write(page, text.replace("</head>", f"{sheet}</head>", 1))
        command = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            f"--user-data-dir={profile}",
            "--no-pdf-header-footer",
            "--generate-pdf-document-outline",
            f"--print-to-pdf={printed}",
        ]
        address = f"{page.resolve().as_uri()}?framework={framework}"
        done = subprocess.run(
            [*command, address],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=120,
        )
        if done.returncode or not printed.is_file():
            sys.exit(f"{page} could not be printed:\n{done.stderr}")
        files.write(path, printed.read_bytes())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--section", choices=SECTIONS, help="this section only")
    parser.add_argument("--framework", choices=FRAMEWORKS, help="this one only")
    parser.add_argument("--html", default="build/html", help="folder of the pages")
    parser.add_argument("--out", default="build/html/pdf", help="folder to write to")
    parser.add_argument("--paper", choices=PAPERS, default=PAPERS[0])
    args = parser.parse_args(argv)
    chromium = browser()
    pages = {}
    for section in SECTIONS if args.section is None else [args.section]:
        page = Path(args.html, f"{section}.html")
        if not page.is_file():
            sys.exit(f"{page} is not there: run `make html` first.")
        pages[section] = page.read_text(encoding="utf-8")
    for framework in FRAMEWORKS if args.framework is None else [args.framework]:
        texts = {s: behind_title({s: text}, framework) for s, text in pages.items()}
        if args.section is None:
            texts["book"] = behind_title(pages, framework)
        for name, text in texts.items():
            path = Path(args.out, framework, f"{name}.pdf")
            print_page(chromium, text, framework, path, args.paper)
            print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
