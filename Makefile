# SPDX-License-Identifier: GPL-2.0-only
# The front door. `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The kernel series of the machine; KERNEL_SRC=DIR takes any unpacked tree instead.
KERNEL ?= 6.12
# VARIANT=debug: a kernel with KASAN, lockdep and the other checkers; stock: Debian's own.
VARIANT ?= default
SERIES := 6.12 7.3 6.1
# Series that also have a machine whose clock counts instructions.
COUNTING := 6.12 7.3
MACHINES := $(SERIES:%=machine-%) machine-stock $(COUNTING:%=machine-%-counting)
SECONDS ?= 600
export KERNEL_SRC
# A kernel's build is a job of its own: it gets its number of jobs, and no jobserver of ours.
unexport MAKEFLAGS MFLAGS

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest -p tests.without_grammar
MACHINE := $(PYTHON) -m testmachine

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: book
book: .venv/ready host ## run every notebook live, rewrite the outputs, render _build/html
	$(MACHINE) build
	$(MACHINE) build --kernel 7.3
	$(MACHINE) build --kernel 7.3 --counting
	$(PYTHON) book/execute.py
	$(MAKE) html

.PHONY: html
html: .venv/ready ## render _build/html from what is committed, warnings as errors
	rm -rf _build/html
	.venv/bin/jupyter-book build --all --quiet -n -W --keep-going .

# A machine keeps one core busy, and waits now and then: a part more than cores, the long ones first.
# The short ones are last, so that no core waits long for the end.
PARTS := defects stress-short tests-host check tests-book notebooks tests-stock \
	$(SERIES:%=tests-%) suite-7.3 tests-unit suite-6.12 suite-6.1

.PHONY: test
test: .venv/ready host ## unit tests, tests in the machine, the kernel's own suite, stress, nbval, the book
	$(PYTHON) -m tests.parts $(MACHINES) tests-compiled -- $(PARTS)

.PHONY: $(PARTS)
notebooks:
	$(PYTEST) --nbval --numprocesses auto --dist loadfile notebooks

tests-book: html
tests-unit tests-host tests-book: tests-%:
	$(PYTEST) tests/$*

defects:
	$(PYTEST) tests/defects

# No notebook is run in there: to import what runs notebooks takes an emulated machine 6 s.
IN_MACHINE := python -m pytest -p no:cacheprovider -p no:nbval -p no:anyio -o addopts=-ra tests/machine

# pytest compiles tests anew, which takes an emulated machine 3 s; it finds what the host has compiled.
.PHONY: tests-compiled
tests-compiled:
	env -u PYTHONDONTWRITEBYTECODE $(PYTEST) --collect-only --quiet tests/machine > /dev/null

$(SERIES:%=tests-%): tests-%:
	$(MACHINE) run --kernel $* -- $(IN_MACHINE)

tests-stock:
	$(MACHINE) run --kernel 7.3 --variant stock -- $(IN_MACHINE)

$(SERIES:%=suite-%): suite-%:
	$(PYTHON) -m tests.kernel_suite --kernel $*

stress-short:
	$(PYTHON) -m tests.stress --seconds 15 --stride 64

.PHONY: stress
stress: .venv/ready host ## many processes, hostile arguments, failing allocations: make stress SECONDS=600 [SEED=]
	$(PYTHON) -m tests.stress --kernel $(KERNEL) --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

.PHONY: lab
lab: .venv/ready host ## JupyterLab; its kernel list offers the test machine
	$(MACHINE) build
	$(PYTHON) -m jupyterlab notebooks

.PHONY: module
module: ## the module against any kernel build tree: make module KDIR=...
	$(MAKE) -C module $(if $(KDIR),KDIR=$(abspath $(KDIR)))

.PHONY: selftests
selftests: machine ## the kernel tree's own hmm-tests against our module
	$(PYTHON) -m tests.kernel_suite --kernel $(KERNEL) --variant $(VARIANT)

.PHONY: bench
bench: .venv/ready host ## costs in instructions: our driver beside the kernel's own, hmmkit beside bare calls
	$(PYTHON) -m benchmarks.costs
	$(PYTHON) -m benchmarks.wrapper

.PHONY: bench-launch
bench-launch: machine ## from the launch of a notebook to its first figure, beside a cold boot
	$(PYTHON) -m benchmarks.launch --kernel $(KERNEL)

.PHONY: status
status: machines ## every notebook and the kernel's own suite on every kernel, into the status page
	$(PYTHON) -m tests.status

.PHONY: check
check: machines ## ruff, mypy --strict, and on the module: checkpatch, kernel-doc, coccinelle, W=1, sparse
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m tests.check_module $(SERIES)

.PHONY: doctor
doctor: .venv/ready ## what this host has and lacks
	$(MACHINE) doctor

.PHONY: machine
machine: .venv/ready host ## the test machine of one series (KERNEL=), and its kernelspec
	$(MACHINE) build --kernel $(KERNEL) --variant $(VARIANT)

.PHONY: machines $(MACHINES)
machines: $(MACHINES) ## the test machines of all series
$(MACHINES): .venv/ready host

$(SERIES:%=machine-%): machine-%:
	$(MACHINE) build --kernel $*

$(COUNTING:%=machine-%-counting): machine-%-counting:
	$(MACHINE) build --kernel $* --counting

machine-stock:
	$(MACHINE) build --kernel 7.3 --variant stock

.PHONY: host
host: ## install the Debian packages that are missing
	@missing=$$(sed -n 's/^\([a-z0-9][^ ]*\).*/\1/p' testmachine/packages.txt | while read -r package; do \
		dpkg-query -W -f '$${db:Status-Status}\n' "$$package" 2>/dev/null | grep -qx installed || echo "$$package"; \
	done); \
	if [ -n "$$missing" ]; then \
		echo "installing:" $$missing; \
		$(SUDO) apt-get -q update; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends $$missing; \
	fi

.venv/ready: requirements.txt | host
	python3 -m venv .venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.PHONY: clean
clean: ## remove what was built here (the machine's cache stays)
	rm -rf _build .venv
