# SPDX-License-Identifier: GPL-2.0-only
"""The pages that `make book` built, and the notebooks they come from."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from nbformat import NotebookNode

from book import execute

REPOSITORY = Path(__file__).resolve().parents[2]
HTML = REPOSITORY / "_build" / "html"
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
LIVE_PAGES = ("05-device-private-migration", "06-swap-fault-path")

MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:home|work|root|tmp|builds?|github|__w)/[\w.]")
"""Where a clone or a scratch file of one machine lies. Pages must not depend on who built them."""

FILE_NAME = re.compile(r"\.\w{3,4}$")
"""What a picture without alternative text gets; one of matplotlib's gets <Figure size ...>."""

by_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """All tests here need the rendered book, and none of them renders it."""
    if not (HTML / "index.html").is_file():
        pytest.fail("no _build/html/index.html: run `make book` first")


@cache
def soup(page: Path) -> BeautifulSoup:
    """Return the parsed page."""
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def pages() -> list[Path]:
    """Return all pages of the built book."""
    return sorted(page for page in HTML.rglob("*.html") if "_static" not in page.parts)


def code_cells(path: Path) -> list[NotebookNode]:
    """Return the code cells of a notebook that have a source."""
    notebook = execute.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def name(page: Path) -> str:
    """Return the page's path in the book, for a message."""
    return page.relative_to(HTML).as_posix()


def toc_files() -> list[str]:
    """Return every page the table of contents names, without suffix."""
    toc = (REPOSITORY / "_toc.yml").read_text(encoding="utf-8")
    return re.findall(r"(?:root|file): (\S+)", toc)


def test_every_page_of_the_table_of_contents_was_rendered() -> None:
    missing = [file for file in toc_files() if not (HTML / f"{file}.html").is_file()]
    assert missing == []


def test_every_notebook_and_chapter_is_in_the_table_of_contents() -> None:
    listed = set(toc_files())
    written = {f"notebooks/{path.stem}" for path in NOTEBOOKS}
    written |= {f"book/{path.stem}" for path in (REPOSITORY / "book").glob("*.md")}
    assert written - listed == set()


@pytest.mark.parametrize("stem", LIVE_PAGES)
def test_a_live_page_shows_text_and_a_figure(stem: str) -> None:
    page = soup(HTML / "notebooks" / f"{stem}.html")
    outputs = page.select("div.cell_output")
    text = "".join(output.get_text() for output in outputs)
    figures = [image for output in outputs for image in output.select("img[src$='.svg'], svg")]
    assert len(text) > 500, f"{stem}: the outputs have {len(text)} characters: was it run?"
    assert figures, f"{stem}: no output is an SVG figure"


def test_every_picture_says_what_it_shows() -> None:
    silent = []
    for page in pages():
        for image in soup(page).select("img"):
            alt = str(image.get("alt") or "").strip()
            if len(alt) < 10 or alt.startswith("<") or FILE_NAME.search(alt):
                silent.append(f"{name(page)}: {image.get('src')}: alt is {alt!r}")
    assert silent == []


def test_no_link_inside_the_book_is_dead() -> None:
    dead = []
    for page in pages():
        for tag, attribute in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
            for element in soup(page).select(f"{tag}[{attribute}]"):
                problem = dead_link(page, str(element[attribute]))
                if problem:
                    dead.append(f"{name(page)}: {problem}")
    assert dead == []


def test_links_that_lead_out_are_listed() -> None:
    """They are not fetched: the list is for whoever wants to try them."""
    found: dict[str, set[str]] = {}
    for page in pages():
        for element in soup(page).select("a[href]"):
            if urlsplit(str(element["href"])).netloc:
                found.setdefault(str(element["href"]), set()).add(name(page))
    lines = [f"{link}\t{' '.join(sorted(found[link]))}\n" for link in sorted(found)]
    (HTML.parent / "external-links.txt").write_text("".join(lines), encoding="utf-8")
    assert found
    assert [link for link in found if urlsplit(link).scheme != "https"] == []


def dead_link(page: Path, link: str) -> str | None:
    """Return what is wrong with `link`, found on `page`, or None if it leads somewhere or outside."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file():
        return f"{link}: no such file"
    if parts.fragment and target.suffix == ".html" and not has_anchor(target, unquote(parts.fragment)):
        return f"{link}: no such place on that page"
    return None


def has_anchor(page: Path, anchor: str) -> bool:
    """Tell whether `page` has an element of that id. The theme's menus use the empty one and #."""
    return anchor in anchors(page)


@cache
def anchors(page: Path) -> set[str]:
    """Return the ids of a page."""
    return {str(element["id"]) for element in soup(page).select("[id]")}


def test_no_page_names_a_path_of_the_machine_that_built_it() -> None:
    found = []
    for page in pages():
        match = MACHINE_PATH.search(page.read_text(encoding="utf-8"))
        if match:
            found.append(f"{name(page)}: ...{match.string[match.start() - 40 : match.end() + 40]}...")
    assert found == []


def test_no_page_needs_another_host() -> None:
    """A reader may be offline: links may lead out, scripts may not."""
    outside = []
    for page in pages():
        for element in soup(page).select("script[src], link[rel=stylesheet], img[src], iframe[src]"):
            address = str(element.get("src") or element.get("href"))
            if urlsplit(address).netloc:
                outside.append(f"{name(page)}: {address}")
    assert outside == []


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} >= set(LIVE_PAGES)


@by_notebook
def test_every_code_cell_was_executed(path: Path) -> None:
    """nbval never compares a cell without execution count: cleared outputs would pass."""
    cells = code_cells(path)
    assert cells
    skipped = [cell.source.splitlines()[0] for cell in cells if cell.execution_count is None]
    assert skipped == []


@by_notebook
def test_most_cells_show_something_that_is_compared(path: Path) -> None:
    """A notebook that prints nothing proves nothing."""
    cells = code_cells(path)
    compared = [cell for cell in cells if cell.outputs]
    assert len(compared) >= len(cells) / 2


@by_notebook
def test_the_notebook_is_in_normal_form(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    normal = execute.dumps(execute.normal_form(execute.loads(text)))
    assert text == normal, f"run `.venv/bin/python book/execute.py {path.relative_to(REPOSITORY)}`"
