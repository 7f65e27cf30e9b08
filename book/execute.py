# SPDX-License-Identifier: GPL-2.0-only
"""Run every notebook in the machine it names and write its outputs in normal form.

``make book`` calls this before it renders the pages. A notebook is committed with its outputs, so
this program must not change a file when nothing true has changed: what differs from run to run
(times, counters, addresses) is described in ``notebooks/sanitize.cfg``, and outputs that are equal
after that are left as they stand.
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbval.plugin import get_sanitize_patterns

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOKS = REPOSITORY / "notebooks"

START_SECONDS = 180
"""A machine is restored in seconds; the rest is for a host that is busy with something else."""

CELL_SECONDS = 120
"""A cell of the book takes seconds. One that does not waits for something that will not come."""

_TERMINAL_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_UNVERIFIABLE_IMAGES = ("image/png", "image/jpeg")

Patterns = Sequence[tuple[str, str]]
"""Pairs (regular expression, replacement), applied in order."""


class NotebookError(Exception):
    """A notebook did not run to its end, or shows what cannot be verified; says so to the reader."""


@dataclass(frozen=True)
class Outcome:
    """What one notebook did.

    seconds: wall time from the start of its machine to its end.
    rewritten: whether the file on disk was changed.
    """

    seconds: float
    rewritten: bool


def normal_form(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of `notebook` that depends only on its cells and on what they printed.

    Execution counts become 1..n, consecutive writes to one stream become one output, a traceback
    becomes its last line (the others name files of one machine), and all metadata goes that
    describes the run and not the page. What a figure says of itself in words becomes the
    alternative text of its picture.

    Raises NotebookError for a figure that is only PNG or JPEG: nbval never compares those, so
    nothing would prove it.
    """
    notebook = copy.deepcopy(notebook)
    kernelspec = notebook.metadata.get("kernelspec", {})
    named = {key: kernelspec.get(key, "") for key in ("display_name", "name")}
    notebook.metadata["kernelspec"] = {**named, "language": "python"}
    # The patch release of Python would be here too. The lexer is all that the page needs.
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    count = 0
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        if cell.execution_count is not None:
            count += 1
            cell.execution_count = count
        cell.outputs = [_normal_output(output, count) for output in _merge_streams(cell.outputs)]
        for output in cell.outputs:
            # MyST-NB takes the alternative text of a picture from here, and from nowhere else.
            if "image/svg+xml" in output.get("data", {}):
                words = output.data.get("text/plain", "")
                cell.metadata["mystnb"] = {"image": {"alt": words}}
    return notebook


def _merge_streams(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    merged: list[NotebookNode] = []
    for output in outputs:
        if (
            merged
            and output.output_type == "stream" == merged[-1].output_type
            and output.name == merged[-1].name
        ):
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def _normal_output(output: NotebookNode, count: int) -> NotebookNode:
    if output.output_type == "execute_result":
        output.execution_count = count
    if output.output_type == "error":
        output.traceback = [f"{output.ename}: {output.evalue}"]
    if "data" in output:
        for kind in _UNVERIFIABLE_IMAGES:
            if output.data.pop(kind, None) is not None and "image/svg+xml" not in output.data:
                raise NotebookError(
                    f"code cell {count} shows {kind} without SVG, and nbval compares only SVG"
                )
    return output


def dumps(notebook: NotebookNode) -> str:
    """Return the text of a notebook file: sorted keys, indented by one, one newline at the end."""
    nbformat.validate(notebook)
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    return text.rstrip("\n") + "\n"


def loads(text: str) -> NotebookNode:
    """Return the notebook that `text`, the content of a notebook file, describes."""
    notebook: NotebookNode = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def sanitized(value: Any, patterns: Patterns) -> Any:
    """Return `value` (any JSON) with `patterns` applied to each string in it, as nbval does."""
    if isinstance(value, str):
        for regex, replacement in patterns:
            value = re.sub(regex, replacement, value)
        return value
    if isinstance(value, dict):
        return {key: sanitized(item, patterns) for key, item in value.items()}
    if isinstance(value, list):
        return [sanitized(item, patterns) for item in value]
    return value


def same_outputs(left: NotebookNode, right: NotebookNode, patterns: Patterns) -> bool:
    """Tell whether two notebooks in normal form show the same, cell by cell, under `patterns`."""

    def shown(notebook: NotebookNode) -> list[Any]:
        return [
            (cell.execution_count, sanitized(cell.outputs, patterns))
            for cell in notebook.cells
            if cell.cell_type == "code"
        ]

    return shown(left) == shown(right)


def run(notebook: NotebookNode, directory: Path) -> NotebookNode:
    """Run a copy of `notebook` in a fresh kernel of the kind it names, in `directory`; return it.

    Raises NotebookError, naming the cell, when a cell raises (and is not tagged
    ``raises-exception``), takes longer than CELL_SECONDS, or when the machine dies under it.
    """
    fresh: NotebookNode = copy.deepcopy(notebook)
    name = fresh.metadata.get("kernelspec", {}).get("name", "")
    at = "before the first cell"

    def remember(cell: NotebookNode, cell_index: int) -> None:
        nonlocal at
        at = f"in cell {cell_index + 1} of {len(fresh.cells)}: {cell.source.strip().splitlines()[0]}"

    client = NotebookClient(
        fresh,
        kernel_name=name,
        timeout=CELL_SECONDS,
        startup_timeout=START_SECONDS,
        record_timing=False,
        resources={"metadata": {"path": str(directory)}},
        on_cell_execute=remember,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise NotebookError(f"an exception {at}\n{_TERMINAL_COLOUR.sub('', error.traceback)}") from None
    except CellTimeoutError:
        raise NotebookError(f"no end after {CELL_SECONDS} s {at}") from None
    except DeadKernelError:
        raise NotebookError(f"the machine died {at}\nits last words are above this line") from None
    except NoSuchKernel:
        raise NotebookError(
            f"no Jupyter kernel is called {name!r}: run `make book`, which installs it"
        ) from None
    except RuntimeError as error:
        raise NotebookError(f"the machine did not start: {error}") from None
    return fresh


def refresh(path: Path, patterns: Patterns) -> Outcome:
    """Run the notebook at `path` and rewrite the file if what it shows, or its form, has changed.

    The outputs are taken as a whole, old or new: an address in one cell belongs to the same
    address in another.
    """
    committed = path.read_text(encoding="utf-8")
    before = loads(committed)
    began = time.monotonic()
    after = normal_form(run(before, path.parent))
    seconds = time.monotonic() - began
    before = normal_form(before)
    wanted = dumps(before if same_outputs(before, after, patterns) else after)
    if wanted != committed:
        path.write_text(wanted, encoding="utf-8")
    return Outcome(seconds=seconds, rewritten=wanted != committed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the notebooks named on the command line, or all. Return 0, or 1 if one failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebook", nargs="*", type=Path, help="default: all of notebooks/")
    paths = parser.parse_args(arguments).notebook or sorted(NOTEBOOKS.glob("*.ipynb"))
    patterns = get_sanitize_patterns((NOTEBOOKS / "sanitize.cfg").read_text(encoding="utf-8"))
    failed = 0
    for number, path in enumerate(paths, start=1):
        print(f"[{number}/{len(paths)}] {path.name} ... ", end="", flush=True)
        try:
            outcome = refresh(path, patterns)
        except NotebookError as error:
            print(f"failed\n{path.name}: {error}", flush=True)
            failed += 1
        else:
            news = "outputs rewritten" if outcome.rewritten else "outputs as committed"
            print(f"{outcome.seconds:.1f} s, {news}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
