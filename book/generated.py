# SPDX-License-Identifier: GPL-2.0-only
"""What the pages say that nobody wrote into them: a Sphinx extension.

How a notebook is run depends on nothing but its name and its kernel; the reference of hmmkit is in
its docstrings; what ran where is in ``book/status.json``. Each is put into the source of its page
when Sphinx reads it, so that it cannot differ from where it comes from.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

REPOSITORY = Path(__file__).resolve().parent.parent
STATUS = REPOSITORY / "book" / "status.json"

RUN = """\
:::{{dropdown}} Run this page
:class-container: run-this-page

On a Debian machine, in a clone of the book's repository:

```console
$ make lab
$ .venv/bin/python -m pytest --nbval notebooks/{name}.ipynb
```

The first opens JupyterLab, where you open `{name}.ipynb`. The second runs it and compares every output \
with what you read here.

The page names the Jupyter kernel `{kernel}`, called *{title}*: a Linux of its own, started for this page \
and thrown away afterwards. {others}[The test machine](../book/02-test-machine.md) says what is needed.

On a machine for experiments, [with the module loaded](real-hardware), the same page runs in that \
machine's own kernel:

```console
$ sudo .venv/bin/python -m pytest --nbval --nbval-current-env notebooks/{name}.ipynb
```

The file itself is behind the button *Download this page*, above.
:::
"""

DEFAULT_KERNEL = "hmm"
OTHERS = "With `--nbval-kernel-name hmm-6.1` or `hmm-7.3` it is another release. "


def with_how_to_run(name: str, text: str) -> str:
    """Return the notebook file ``text``, called ``name``, with a cell that says how it is run.

    It is the second cell: the first has the title and the question.
    """
    notebook: dict[str, Any] = json.loads(text)
    kernelspec = notebook["metadata"]["kernelspec"]
    kernel, title = kernelspec["name"], kernelspec["display_name"]
    words = RUN.format(
        name=name, kernel=kernel, title=title, others=OTHERS if kernel == DEFAULT_KERNEL else ""
    )
    cell = {"cell_type": "markdown", "id": "run-this-page", "metadata": {}, "source": words}
    notebook["cells"].insert(1, cell)
    return json.dumps(notebook)


HMMKIT_MARK = "% One section for each module of hmmkit is put here when the book is built.\n"


def hmmkit_modules() -> dict[str, str]:
    """The modules of hmmkit: name, and the first sentence of its docstring."""
    found = {}
    for path in sorted((REPOSITORY / "hmmkit").rglob("*.py")):
        dotted = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if docstring:
            found[dotted.removesuffix(".__init__")] = docstring.partition("\n")[0]
    return found


def with_reference(text: str) -> str:
    """Return the page ``text`` with a table of hmmkit's modules and what each documents itself."""
    modules = hmmkit_modules()
    assert text.count(HMMKIT_MARK) == 1
    lines = ["| module | what for |\n|---|---|\n"]
    # in Markdown a double backquote is a single one
    lines += [f"| [`{name}`](#{name}) | {said.replace('``', '`')} |\n" for name, said in modules.items()]
    for name in modules:
        options = ("members", "undoc-members", "no-value", "show-inheritance")
        words = f".. automodule:: {name}\n" + "".join(f"   :{option}:\n" for option in options)
        if name == "hmmkit.figures":  # what it offers is documented where it is defined
            words = f".. automodule:: {name}\n"
        lines.append(f"\n({name})=\n## {name}\n\n```{{eval-rst}}\n{words}```\n")
    return text.replace(HMMKIT_MARK, "".join(lines))


STATUS_MARK = "% The tables are put here when the book is built, from status.json.\n"
COLUMN_TITLES = {"stock": "Debian's own"}


def title_of(notebook: Path) -> str:
    """The first heading of a notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    first = "".join(cells[0]["source"]).partition("\n")[0]
    return first.removeprefix("# ")


def differs_by_release(notebook: Path) -> str:
    """The anchor of the notebook's table of what differs by release, or nothing if it has none."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    has = any(re.search(r"^#+ Differs by release$", text, re.MULTILINE) for text in texts)
    return "differs-by-release" if has else ""


def when(entry: dict[str, Any]) -> str:
    """When it was, with hyphens that do not end a line, and how long it took; on two lines."""
    return f"{entry['date']}<br>{entry['seconds']} s".replace("-", "\N{NON-BREAKING HYPHEN}")


def status_entry(name: str, entry: dict[str, Any] | None) -> str:
    """One cell of the table of notebooks."""
    if entry is None:
        return "not run"
    if "needs" in entry:
        return f"needs {entry['needs'].removeprefix('hmm-').replace('-', ', ')}"
    differ = entry["differ"]
    if not differ:
        return f"all {entry['cells']} cells<br>{when(entry)}"
    anchor = differs_by_release(REPOSITORY / "notebooks" / f"{name}.ipynb")
    words = f"{len(differ)} of {entry['cells']} cells differ"
    if anchor:
        words = f"[{words}](../notebooks/{name}.ipynb#{anchor})"
    return f"{words}<br>{when(entry)}"


def suite_entry(entry: dict[str, Any] | None) -> str:
    """One cell of the table of the kernel's own suite."""
    if entry is None:
        return "not run"
    counts = f"{entry['passed']} passed, {entry['failed']} failed, {entry['skipped']} skipped"
    return f"{counts}<br>{when(entry)}"


def with_status(text: str, status: dict[str, Any]) -> str:
    """Return the page ``text`` with what ``status`` says in tables."""
    assert text.count(STATUS_MARK) == 1
    columns = list(status["releases"])
    titles = [COLUMN_TITLES.get(column, column) for column in columns]
    releases = [f"`{status['releases'][column]}`" for column in columns]
    rows = [["", *titles], ["---"] * (len(columns) + 1), ["Linux", *releases]]
    for name in sorted(path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb")):
        runs = status["notebooks"].get(name, {})
        link = (
            f"[{name[:2]} {title_of(REPOSITORY / 'notebooks' / f'{name}.ipynb')}](../notebooks/{name}.ipynb)"
        )
        rows.append([link, *(status_entry(name, runs.get(column)) for column in columns)])
    rows.append(["the kernel's own suite", *(suite_entry(status["suite"].get(column)) for column in columns)])
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    versions = ", ".join(f"{name} {version}" for name, version in sorted(status["versions"].items()))
    return text.replace(STATUS_MARK, f"{table}\nWith {versions}.\n")


def plain_words(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Autodoc's event: a docstring is prose with code in double backquotes, and no more markup.

    So a star or a final underscore outside of these is a character, as in PROT_ or ``*.ko``.
    """
    for number, line in enumerate(lines):
        parts = re.split(r"(``.*?``|:\w+:`.*?`)", line)
        parts[::2] = [re.sub(r"(?<=\w)_(?!\w)|\*", r"\\\g<0>", part) for part in parts[::2]]
        lines[number] = "".join(parts)


def source_read(app: Sphinx, docname: str, content: list[str]) -> None:
    """Sphinx's event: ``content[0]`` is the source of the page, ours to change."""
    if docname.startswith("notebooks/"):
        content[0] = with_how_to_run(docname.removeprefix("notebooks/"), content[0])
    elif docname == "book/hmmkit":
        content[0] = with_reference(content[0])
    elif docname == "book/status":
        app.env.note_dependency(str(STATUS))
        content[0] = with_status(content[0], json.loads(STATUS.read_text(encoding="utf-8")))


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx's entry."""
    app.connect("source-read", source_read)
    app.connect("autodoc-process-docstring", plain_words)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
