"""Look at the built site as its readers do, and report what is broken.

    python scripts/look_at_site.py docs/_build/html
    python scripts/look_at_site.py docs/_build/html --pictures FOLDER    # and take screenshots

Every link within the site, to a page or to a place on one, must lead somewhere. Then, where there
is a Chromium or Chrome, each page is opened at the width of a phone and of a desk: no console
message, nothing fetched that is not part of the site, no equation in error or left as it was
written, nothing wider than the screen.
Needs `pip install -e ".[docs]"`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

WIDTHS = {"phone": (390, 844), "desk": (1280, 900)}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: The first thing that sticks out of the screen, and lies in nothing that can be scrolled.
OVERFLOW = """() => {
    const width = document.documentElement.clientWidth;
    const own = (e) => ["auto", "scroll"].includes(getComputedStyle(e).overflowX);
    const scrolls = (e) => !e.matches("article") && (own(e) || scrolls(e.parentElement));
    const seen = (e) => e.checkVisibility() && !e.closest("mjx-assistive-mml");
    const wide = [...document.querySelectorAll("article *")].find(
        (e) => e.getBoundingClientRect().right > width + 1 && seen(e) && !scrolls(e)
    );
    return wide ? wide.outerHTML.slice(0, 160) : "";
}"""


class Page(HTMLParser):
    """The links of a page, and the places on it that links may lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Collect from one tag."""
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.places.add(value)
            if (tag, name) in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
                self.links.append(value or "")


def main() -> int:
    """Look, report, and return 1 if something is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path, help="the folder that Sphinx wrote")
    parser.add_argument("--pictures", type=Path, help="take a screenshot of every page, into here")
    options = parser.parse_args()
    site = options.site.resolve()
    paths = sorted(site.rglob("*.html"))
    if not paths:
        parser.error(f"site: expected a folder with pages, got {options.site}")
    broken = broken_links(site, paths)
    print(f"{len(paths)} pages, {len(broken)} broken links", flush=True)
    if browser := next(filter(None, map(shutil.which, BROWSERS)), None):
        broken += in_browser(browser, site, paths, options.pictures)
    else:
        print(f"NO BROWSER: not looked at, for none of {', '.join(BROWSERS)} is here")
    print("\n".join(broken))
    return 1 if broken else 0


def broken_links(site: Path, paths: list[Path]) -> list[str]:
    """Links within the site that lead nowhere."""
    pages = {path: Page(path) for path in paths}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            lost = (
                parts.fragment and to in pages and unquote(parts.fragment) not in pages[to].places
            )
            if not to.exists() or lost or site not in (to, *to.parents):
                broken.append(f"{path.relative_to(site)}: link to {link}")
    return broken


def in_browser(browser: str, site: Path, paths: list[Path], pictures: Path | None) -> list[str]:
    """What goes wrong when a browser without a network shows the pages."""
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name, (width, height) in WIDTHS.items():
            context = chromium.new_context(
                viewport={"width": width, "height": height}, offline=True
            )
            for path in paths:
                if "_modules" in path.parts:
                    continue
                where = f"{path.relative_to(site)} on a {name}"
                tab = context.new_page()
                tab.on("console", lambda m, w=where: complaints.append(f"{w}: {m.type}: {m.text}"))
                tab.on("pageerror", lambda e, w=where: complaints.append(f"{w}: {e}"))
                tab.on(
                    "request",
                    lambda r, w=where: (
                        r.url.startswith(("file:", "data:", "blob:"))
                        or complaints.append(f"{w}: fetches {r.url}")
                    ),
                )
                tab.goto(path.as_uri())
                tab.wait_for_function("!window.MathJax?.startup?.promise || window.MathJax.version")
                tab.evaluate("async () => { await window.MathJax?.startup?.promise }")
                errors = tab.locator("mjx-merror, .problematic, .system-message").count()
                if errors:
                    complaints.append(f"{where}: {errors} equations or references in error")
                if (
                    tab.locator("span.math, div.math").count()
                    > tab.locator("mjx-container").count()
                ):
                    complaints.append(f"{where}: equations that are not rendered")
                if wide := tab.evaluate(OVERFLOW):
                    complaints.append(f"{where}: wider than the screen: {wide}")
                if pictures:
                    file = pictures / name / path.relative_to(site).with_suffix(".png")
                    file.parent.mkdir(parents=True, exist_ok=True)
                    tab.screenshot(path=file, full_page=True)
                tab.close()
            context.close()
        chromium.close()
    print(f"looked at in {Path(browser).name}, {len(complaints)} complaints", flush=True)
    return complaints


if __name__ == "__main__":
    sys.exit(main())
