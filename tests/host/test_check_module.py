# SPDX-License-Identifier: GPL-2.0-only
"""Every tool of tests.check_module has to see the defect that it is there for."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from testmachine import kernel, module
from tests import check_module, similarity

SCRIPTS = check_module.coccinelle_scripts
SERIES = "7.3"
COCCINELLE = "scripts/coccinelle/locks/mini_lock.cocci"  # the one that sees what is planted

# A file that is looked at and not compiled.
STYLE = """\
// SPDX-License-Identifier: GPL-2.0-only
/**
 * planted_sum() - what two numbers are together
 * @left: one of them
 *
 * Return: the sum.
 */
static int planted_sum(int left, int right)
{
	return left+right;
}

static int planted_lock(struct mutex *lock, int what)
{
	mutex_lock(lock);
	if (what)
		return -EINVAL;
	mutex_unlock(lock);
	return 0;
}
"""

# What is compiled: a function nobody declared, that reads memory of the user as if it were ours.
COMPILED = """\
#include <linux/module.h>

int planted_unknown(int __user *pointer)
{
	return *pointer;
}

MODULE_DESCRIPTION("has a defect for each tool");
MODULE_LICENSE("GPL");
"""
# What the module's own headers and the benchmark's floor, which is compiled beside it, are made of.
KEPT = ("Kbuild", "dkms.conf", "compat.h", "hmm_dmirror.h")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is reported of a module that is a defect for each tool: ours takes long to compile."""
    planted = tmp_path_factory.mktemp("module")
    for path in module.sources(module.source_directory()):
        if path.name in KEPT:
            target = planted / path.relative_to(module.source_directory())
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(path, target)
    with (planted / "Kbuild").open("a") as file:
        file.write("hmm_dmirror-y := compiled.o\n")
    (planted / "style.c").write_text(STYLE)
    (planted / "compiled.c").write_text(COMPILED)
    driver = (kernel.get(SERIES).source / "lib" / "test_hmm.c").read_text()
    copied = re.search(r"^static int dmirror_do_read\(.*?^}\n", driver, re.DOTALL | re.MULTILINE)
    assert copied
    (planted / "copied.c").write_text(copied.group())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HMM_MODULE", str(planted))
        patch.setattr(check_module, "coccinelle_scripts", only_the_one)
        return "\n".join(check_module.check([SERIES]))


def only_the_one(kernels: list[kernel.Kernel]) -> dict[Path, kernel.Kernel]:
    """Of the scripts that would be run the one that matters here: all of them take half a minute."""
    return {script: built for script, built in SCRIPTS(kernels).items() if script.match(f"*/{COCCINELLE}")}


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(r"style\.c:10: CHECK: spaces preferred around that '\+'", id="checkpatch"),
        pytest.param(r"style\.c:\d+ function parameter 'right' not described", id="kernel-doc"),
        pytest.param(r"style\.c:17:\S+: preceding lock on line 15 \(mini_lock", id="coccinelle"),
        pytest.param(r"compiled\.c:.* no previous prototype for .planted_unknown", id="W=1"),
        pytest.param(r"compiled\.c:.* dereference of noderef expression", id="sparse"),
        pytest.param(r"copied\.c: too much like lib/test_hmm\.c", id="similarity"),
    ],
)
def test_a_planted_defect_is_reported(reports: str, report: str) -> None:
    assert re.search(report, reports), reports


@pytest.mark.parametrize(("found", "status"), [(["fault.c:1: a report"], 1), ([], 0)])
def test_a_report_is_a_failure(
    found: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_module, "check", lambda names: found)
    assert check_module.main([SERIES]) == status
    assert capsys.readouterr().err.splitlines() == found


def test_the_limits_stand_between_copied_and_independent() -> None:
    """The driver's own earlier version is far over them, kernel code of the same subject far under."""
    tree = kernel.get(SERIES).source
    driver = similarity.reference_drivers([tree])
    (earlier,) = similarity.reference_drivers([kernel.get("6.12").source])
    copied = similarity.compare(earlier, driver)
    assert min(copied.verbatim, copied.renamed) > 5 * similarity.SHARE_LIMIT
    assert copied.longest > 5 * similarity.LONGEST_LIMIT
    independent = similarity.compare((tree / "mm" / "migrate_device.c").read_text(), driver)
    assert max(independent.verbatim, independent.renamed) < similarity.SHARE_LIMIT / 5
    assert independent.longest < similarity.LONGEST_LIMIT / 2


def test_names_do_not_hide_a_copy() -> None:
    text = "int f(int a)\n{\n\tif (a > 1)\n\t\treturn g(a - 1) + h(a, 2);\n\treturn a * k(a, 3);\n}\n"
    renamed = similarity.compare(re.sub(r"\b[fghka]\b", r"other_\g<0>", text), [text])
    assert renamed.renamed == 100.0 and renamed.verbatim < 50.0
    commented = similarity.compare(f"/* mine */\n#include <linux/mm.h>\n{text}", [text])
    assert commented.verbatim == 100.0
