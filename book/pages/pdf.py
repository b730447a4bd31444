"""The pages as PDF: `python -m book.pages.pdf [--section S] [--framework F]`.

Printed by Chromium from build/html, where the style for print shows one framework.
"""

import argparse
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


def print_page(chromium, page, framework, path):
    """Print one page, with one framework's tabs, to a PDF."""
    with tempfile.TemporaryDirectory() as profile:
        printed = Path(profile, "page.pdf")
        command = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            f"--user-data-dir={profile}",
            "--no-pdf-header-footer",
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
    parser.add_argument("--out", default="build/pdf", help="folder to write to")
    args = parser.parse_args(argv)
    chromium = browser()
    for section in SECTIONS if args.section is None else [args.section]:
        page = Path(args.html, f"{section}.html")
        if not page.is_file():
            sys.exit(f"{page} is not there: run `make html` first.")
        for framework in FRAMEWORKS if args.framework is None else [args.framework]:
            path = Path(args.out, framework, f"{section}.pdf")
            print_page(chromium, page, framework, path)
            print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
