# SPDX-License-Identifier: GPL-2.0-only
"""The built book as a reader's browser shows it: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from tests.book.test_book import HTML, NOTEBOOKS, REPOSITORY, name, pages, toc_files

# index.html only leads to the first page.
PAGES = [name(page) for page in pages() if name(page) != "index.html"] if HTML.is_dir() else []
THEMES = ("light", "dark")
DESK = ViewportSize(width=1280, height=900)  # pixels of CSS
TELEPHONE = ViewportSize(width=390, height=844)  # a common one

# WCAG 2, success criterion 1.4.3, level AA.
CONTRAST, CONTRAST_LARGE = 4.5, 3.0

by_page = pytest.mark.parametrize("path", PAGES)


class Quiet(SimpleHTTPRequestHandler):
    """A file server that prints nothing."""

    def do_GET(self) -> None:
        """Answer a request; also that for an icon, which no page named and the browser may send."""
        if self.path == "/favicon.ico":
            self.send_response(204)
            self.end_headers()
        else:
            with suppress(BrokenPipeError):  # the browser is on another page already
                super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of the built book."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HTML)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Its sandbox does not start for root."""
    program = shutil.which("chromium")
    assert program, "these tests look at the book in Debian's chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        sandbox = os.geteuid() != 0
        browser = playwright.chromium.launch(
            executable_path=program,
            chromium_sandbox=sandbox,
            args=["--disable-dev-shm-usage"],  # a container's is too small
        )
        yield browser
        browser.close()


class Visit:
    """A window of its own, with what the browser complained of."""

    def __init__(self, page: Page, site: str) -> None:
        self.page = page
        self.site = site
        self.complaints: list[str] = []
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", lambda request: self._failed(request.url, request.failure))
        page.on("request", lambda request: self._asked(request.url))
        page.on("response", lambda answer: self._answered(answer.status, answer.url))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.site, "data:")):
            self.complaints.append(f"asks another host: {url}")

    def _failed(self, url: str, why: str | None) -> None:
        # A click leaves a page, and what that page was still loading, such as the search's excerpts.
        if why != "net::ERR_ABORTED":
            self.complaints.append(f"not loaded: {url} ({why})")

    def _answered(self, status: int, url: str) -> None:
        if status >= 400:
            self.complaints.append(f"{status}: {url}")

    def go(self, path: str) -> Page:
        """Open the page and wait until all of it is there."""
        self.page.goto(f"{self.site}/{path}", wait_until="load")
        return self.page

    def at(self) -> str:
        """The page it shows, without suffix."""
        return self.place(self.page.url)

    def place(self, address: str) -> str:
        """The page that an address leads to, without suffix."""
        path = address.removeprefix(f"{self.site}/")
        return path.split("#")[0].split("?")[0].removesuffix(".html")


@pytest.fixture(scope="module")
def desk(browser: Browser) -> Iterator[BrowserContext]:
    """A reader's browser: what pages share is loaded once."""
    context = browser.new_context(viewport=DESK, color_scheme="light")
    yield context
    context.close()


@pytest.fixture
def visit(desk: BrowserContext, site: str) -> Iterator[Visit]:
    """A window of a desk's size."""
    page = desk.new_page()
    yield Visit(page, site)
    page.close()


@dataclass(frozen=True)
class Look:
    """What is wrong with one page, by kind, each empty where nothing is; and its neighbours' addresses."""

    complaints: list[str]
    pictures: list[str]
    contrast: dict[str, list[str]]
    answers: list[str]
    telephone: list[str]
    previous: str | None
    following: str | None


PICTURES = """
async () => {
    await Promise.all([...document.images].map(image => image.decode().catch(() => {})));
    const problems = [];
    for (const e of document.querySelectorAll("img, article [role=img]")) {
        if (!e.checkVisibility())
            continue;
        const words = e.getAttribute("alt") ?? e.getAttribute("aria-label") ?? "";
        if (e.tagName == "IMG" && e.naturalWidth == 0)
            problems.push(`not shown: ${e.src}`);
        if (words.length < 10)
            problems.push(`no words: ${e.outerHTML.slice(0, 100)}`);
    }
    return problems;
}
"""

# What one sees behind a text: the backgrounds of its element and of all around it, blended.
# A relative luminance and a contrast as WCAG 2 defines them.
LOW_CONTRAST = """
([wanted, wantedLarge]) => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const rgba = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] + below[i] * (1 - top[3]));
    const ground = element => {
        const layers = [];
        for (let e = element; e; e = e.parentElement)
            layers.push(rgba(getComputedStyle(e).backgroundColor));
        const dark = document.documentElement.dataset.theme == "dark";
        return layers.reverse().reduce((below, top) => over(top, below), dark ? [0, 0, 0] : [255, 255, 255]);
    };
    const luminance = rgb => {
        const [r, g, b] = rgb.map(c => c / 255)
            .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const low = new Map();
    let texts = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const text = walker.currentNode.data.trim();
        if (!text || element.closest("script, style, svg, math, noscript") || !element.checkVisibility(
                {opacityProperty: true, visibilityProperty: true}))
            continue;
        const style = getComputedStyle(element), below = ground(element);
        const lights = [over(rgba(style.color), below), below].map(luminance).sort((a, b) => b - a);
        const contrast = (lights[0] + 0.05) / (lights[1] + 0.05);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        texts++;
        if (contrast < (large ? wantedLarge : wanted) - 0.005)
            low.set(`${element.tagName.toLowerCase()}.${element.className} ${style.color}`,
                    `${contrast.toFixed(2)}: ${text.slice(0, 30)}`);
    }
    return [texts, [...low].map(([where, what]) => `${where}: ${what}`)];
}
"""


# Clicks on each hidden answer: those that were open before, or do not open.
CLOSED_ANSWERS = """
() => [...document.querySelectorAll("article details.sd-dropdown")].filter(answer => {
    const title = answer.querySelector("summary"), body = answer.querySelector(".sd-summary-content");
    const before = body.checkVisibility();
    title.click();
    return before || !body.checkVisibility() || !body.innerText.trim();
}).map(answer => answer.querySelector("summary").innerText)
"""


TOO_WIDE = """
width => {
    const scrolls = e => e && (["auto", "scroll"].includes(getComputedStyle(e).overflowX)
                               ? e.tagName != "BODY" : scrolls(e.parentElement));
    const page = document.documentElement.scrollWidth;
    return page <= width ? [] : [`${page} pixels wide`, ...[...document.querySelectorAll("article *")]
        .filter(e => e.getBoundingClientRect().right > width + 1 && e.checkVisibility() && !scrolls(e))
        .map(e => e.outerHTML.slice(0, 100)).slice(0, 5)];
}
"""


NEIGHBOURS = """
() => ["left-prev", "right-next"].map(way => document.querySelector(`a.${way}`)?.href)
"""


def contrast(page: Page, theme: str) -> list[str]:
    """Texts that do not stand out in ``theme``."""
    page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
    texts, low = page.evaluate(LOW_CONTRAST, [CONTRAST, CONTRAST_LARGE])
    assert texts > 10, "the page has no text"
    return list(low)


@pytest.fixture(scope="module")
def look(desk: BrowserContext, site: str) -> Callable[[str], Look]:
    """Open a page once, for all that is looked at, and all pages in one window."""
    visit = Visit(desk.new_page(), site)

    @cache
    def look_at(path: str) -> Look:
        visit.complaints.clear()
        visit.page.set_viewport_size(DESK)
        page = visit.go(path)
        pictures = page.evaluate(PICTURES)
        answers = page.evaluate(CLOSED_ANSWERS)
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        page.add_style_tag(content="* { transition: none !important }")
        low = {theme: contrast(page, theme) for theme in THEMES}
        page.set_viewport_size(TELEPHONE)
        wide = page.evaluate(TOO_WIDE, TELEPHONE["width"])
        previous, following = page.evaluate(NEIGHBOURS)
        return Look(list(visit.complaints), pictures, low, answers, wide, previous, following)

    return look_at


def test_there_are_pages() -> None:
    assert len(PAGES) > len(toc_files()), "every page of the contents, and the search page"


@by_page
def test_a_page_opens_without_a_complaint(look: Callable[[str], Look], path: str) -> None:
    assert look(path).complaints == []


@by_page
def test_every_picture_is_there_and_has_words(look: Callable[[str], Look], path: str) -> None:
    assert look(path).pictures == []


@pytest.mark.parametrize("theme", THEMES)
@by_page
def test_text_stands_out_from_what_is_behind_it(look: Callable[[str], Look], path: str, theme: str) -> None:
    assert look(path).contrast[theme] == []


@by_page
def test_hidden_answers_open(look: Callable[[str], Look], path: str) -> None:
    assert look(path).answers == []


@by_page
def test_a_telephone_shows_it_without_scrolling_sideways(look: Callable[[str], Look], path: str) -> None:
    assert look(path).telephone == []


def test_the_theme_is_the_readers(browser: Browser, site: str) -> None:
    """Without a choice, what the system prefers; with one, that, on the next page too."""
    context = browser.new_context(viewport=DESK, color_scheme="dark")
    visit = Visit(context.new_page(), site)
    theme = "document.documentElement.dataset.theme"
    page = visit.go("book/intro.html")
    assert page.evaluate(theme) == "dark"
    page.locator("button.theme-switch-button:visible").click()
    chosen = page.evaluate(theme)
    assert chosen == visit.go("book/glossary.html").evaluate(theme) == "light"
    context.close()


def test_the_front_door_leads_to_the_first_page(visit: Visit) -> None:
    visit.go("index.html").wait_for_url("**/book/intro.html")
    assert visit.complaints == []


def test_search_finds_a_word_and_leads_to_it(visit: Visit) -> None:
    page = visit.go("book/intro.html")
    page.get_by_role("button", name="Search").first.click()
    field = page.locator("dialog[open] input[type=search]")
    field.fill("migrate_to_ram")
    field.press("Enter")
    page.wait_for_url("**/search.html?*")
    result = page.locator("#search-results a", has_text="The swap-fault path").first
    result.wait_for(timeout=10_000)
    result.click()
    page.wait_for_url("**/*06-swap-fault-path.html*")
    assert "migrate_to_ram" in page.locator("article").inner_text()
    assert visit.complaints == []


def test_next_leads_through_the_whole_book_and_previous_back(
    look: Callable[[str], Look], visit: Visit
) -> None:
    seen = ["book/intro"]
    while (address := look(f"{seen[-1]}.html").following) and len(seen) <= len(toc_files()):
        seen.append(visit.place(address))
        back = look(f"{seen[-1]}.html").previous
        assert back and visit.place(back) == seen[-2]
    assert seen == toc_files()


def test_next_and_previous_can_be_clicked(visit: Visit) -> None:
    page = visit.go("book/intro.html")
    page.locator("a.right-next").click()
    page.wait_for_url(f"**/{toc_files()[1]}.html")
    page.locator("a.left-prev").click()
    page.wait_for_url("**/book/intro.html")


def download(page: Page, source: Path) -> bytes:
    """What the page's button gives its reader."""
    page.get_by_role("button", name="Download this page").click()
    link = page.locator(f".article-header-buttons a[href$='{source.name}']:visible").first
    return page.request.get(link.evaluate("link => link.href")).body()


def test_the_download_of_a_chapter_is_the_file_itself(visit: Visit) -> None:
    source = REPOSITORY / "book" / "intro.md"
    assert download(visit.go("book/intro.html"), source) == source.read_bytes()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_can_be_had_and_says_how_it_is_run(visit: Visit, notebook: Path) -> None:
    page = visit.go(f"notebooks/{notebook.stem}.html")
    assert download(page, notebook) == notebook.read_bytes()
    page.get_by_text("Run this page").click()
    words = page.locator("details", has_text="Run this page").inner_text()
    assert "make lab" in words
    assert f"pytest --nbval notebooks/{notebook.name}" in words
