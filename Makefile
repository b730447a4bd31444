# Every target makes the environment that it needs. `make help` lists them.
# This machine's python3, if its version is one of these; else the first of them that
# is installed.
PYTHONS     := 3.13 3.12 3.11
PYTHON      ?= $(firstword $(shell for p in python3 $(PYTHONS:%=python%); do \
  $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done) python3)
SUPPORTED   := import sys; v = sys.version_info; \
  sys.exit("%d.%d" % v[:2] not in "$(PYTHONS)".split() or v < (3, 11, 5))
PYTHON312   ?= python3.12
# CPU=1: PyTorch without CUDA, from the index that TORCH_INDEX names, or pip's own.
CPU         ?=
TORCH_INDEX ?=
FRAMEWORK   ?=
SECTION     ?=
ENVIRONMENT ?=
FAULT       ?=
QUICK       ?=
ONLY        ?=
MINUTES     ?=
LIST        ?=
OUT         ?=
SLOW        ?=
# ANSWERS=no: exercises without their answers, in a folder of their own.
ANSWERS     ?= yes
PAPER       ?= a4
HTML        := build/$(if $(filter no,$(ANSWERS)),handout,html)

VENV := .venv
PY   := $(VENV)/bin/python
DONE := $(VENV)/.done
# Building pages needs no framework: where there is no full environment, a small one.
BOOK_VENV := $(if $(wildcard $(DONE)),$(VENV),.venv-book)
BOOK_PY   := $(BOOK_VENV)/bin/python
BOOK_DONE := $(BOOK_VENV)/.done

# nbgrader, with which the tests grade, adds menus to JupyterLab: so it is installed in a
# folder of its own. That is done before the parts of the tests start: otherwise make
# would start with those that do not need it, instead of the longest.
NBGRADER := build/nbgrader/.done

# reveal.js, which draws slides, from a package that carries it.
REVEAL := build/reveal/sphinx_revealjs/_static/revealjs/dist

FRAMEWORKS := pytorch mxnet tensorflow jax
CHOSEN     := $(or $(FRAMEWORK),$(FRAMEWORKS))
SELECTED   := $(if $(FRAMEWORK),--framework $(FRAMEWORK)) $(if $(SECTION),--section $(SECTION))

# Tests run in parts, JOBS at a time, each on one thread, the longest first. All run, also
# where one fails; what a part prints comes in one piece, where this make can do that.
JOBS  ?= 2
QUICK_PARTS := test-jax test-core test-mxnet test-tensorflow test-pytorch check
PARTS := $(QUICK_PARTS) parity $(patsubst %,nbval-%,jax tensorflow mxnet pytorch)
IN_PARTS = OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 PJRT_NPROC=1 \
  $(MAKE) --no-print-directory -k -j $(JOBS) $(SYNC)
SYNC := $(if $(filter output-sync,$(.FEATURES)),-Otarget)

# Python keeps what it compiles, also where a shell says it should not: the tests start
# hundreds of processes, each of which would compile PyTorch or TensorFlow anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup lab html colab slides pdf exercises test test-quick test-all test-matrix test-core \
  mutants parity nbval notebooks execute bench study gpu check clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile
	@echo "  FRAMEWORK=pytorch|mxnet|tensorflow|jax and SECTION=nin restrict execute and nbval,"
	@echo "  ENVIRONMENT=pinned|newest|python312|colab restricts test-matrix"

setup: $(DONE)  ## make the environment .venv (CPU=1: PyTorch without CUDA, see README)

lab: $(DONE)  ## open JupyterLab on notebooks/
	$(PY) -m jupyterlab --notebook-dir notebooks

html: $(BOOK_DONE)  ## build the book in build/html (ANSWERS=no: in build/handout, to hand out)
	+@$(MAKE) --no-print-directory -j 2 $(SYNC) html-notebooks html-pages

# Each uses one processor; `make html` runs both at a time.
.PHONY: html-notebooks html-pages
html-notebooks:
	$(BOOK_PY) -m book.notebooks.colab --out $(HTML)/notebooks --answers $(ANSWERS) $(SELECTED)

html-pages:
	$(BOOK_PY) -m book.pages.pages --out $(HTML) --answers $(ANSWERS) $(SELECTED)

colab: $(BOOK_DONE)  ## write notebooks that need no repository to build/colab
	$(BOOK_PY) -m book.notebooks.colab $(SELECTED)
	$(BOOK_PY) -m book.notebooks.colab --answers nbgrader --out build/colab/blank $(SELECTED)

slides: $(BOOK_DONE) $(REVEAL)  ## write decks for lectures to build/html/slides
	$(BOOK_PY) -m book.pages.slides --reveal $(REVEAL) --out $(HTML)/slides $(SELECTED)
	$(BOOK_PY) -m book.pages.pages --out $(HTML) --answers $(ANSWERS)

pdf: $(BOOK_DONE)  ## print pages and book to build/html/pdf (PAPER=letter); needs Chromium
	$(BOOK_PY) -m book.pages.pages --out $(HTML) --answers $(ANSWERS)
	$(BOOK_PY) -m book.pages.pdf --html $(HTML) --out $(HTML)/pdf --paper $(PAPER) $(SELECTED)
	$(BOOK_PY) -m book.pages.pages --out $(HTML) --answers $(ANSWERS)

exercises: $(BOOK_DONE)  ## write blank exercises to build/html: exercises for nbgrader, blank
	$(BOOK_PY) -m book.notebooks.exercises --out $(HTML)/exercises
	$(BOOK_PY) -m book.notebooks.colab --answers nbgrader --out $(HTML)/blank
	$(BOOK_PY) -m book.pages.pages --out $(HTML) --answers $(ANSWERS)

test: $(DONE) $(NBGRADER)  ## run the tests, the notebooks and parity
	+$(IN_PARTS) $(PARTS)

test-quick: $(DONE) $(NBGRADER)  ## run the tests that need no notebook: some minutes
	+$(IN_PARTS) $(QUICK_PARTS)

test-all: $(DONE) $(NBGRADER)  ## run also what is slow and rarely finds anything
	+$(IN_PARTS) $(PARTS) SLOW=--slow

test-matrix: $(DONE)  ## run tests and notebooks on other versions; takes hours
	$(PY) -m book.checks.matrix --python312 $(PYTHON312) $(if $(ENVIRONMENT),--only $(ENVIRONMENT))

test-core: $(DONE) $(NBGRADER)
	$(PY) -m pytest -q $(SLOW)

# One framework per process.
.PHONY: $(FRAMEWORKS:%=test-%)
$(FRAMEWORKS:%=test-%): test-%: $(DONE)
	$(PY) -m pytest -q --framework $* $(SLOW)

mutants: $(DONE)  ## put faults into a copy of the code; tests must see each (FAULT=words)
	$(PY) tests/mutants.py $(FAULT)

parity: $(DONE)  ## compare the four frameworks number by number
	$(PY) -m book.checks.parity

nbval: $(DONE)  ## run the notebooks in fast mode and compare with stored outputs
	$(PY) -m book.notebooks.nbval $(SELECTED)

.PHONY: $(FRAMEWORKS:%=nbval-%)
$(FRAMEWORKS:%=nbval-%): nbval-%: $(DONE)
	$(PY) -m book.notebooks.nbval --framework $* --jobs 1 $(if $(SLOW),--all)

notebooks: $(DONE)  ## make notebooks and catalogues from the sources; take edits back
	$(PY) -m book.notebooks.editions

execute: $(DONE)  ## run the editions that lack outputs, on the full data
	$(PY) -m book.notebooks.editions
	$(PY) -m book.notebooks.execute $(SELECTED)

bench: $(DONE)  ## measure speed and memory against d2l 1.0.3 (QUICK=1: some of it)
	$(PY) -m bench.run $(if $(QUICK),--quick) $(if $(FRAMEWORK),--framework $(FRAMEWORK)); \
	  status=$$?; $(PY) -m bench.report && exit $$status

study: $(DONE)  ## train what is missing of the study (ONLY=nin_1x1, MINUTES=150, LIST=1)
	$(PY) -m study.run $(if $(ONLY),--only $(ONLY)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(LIST),--list)

gpu:  ## all that wants a GPU, in one command of ten minutes (OUT=folder); installs nothing
	$(PYTHON) -m study.gpu --out $(or $(OUT),build/gpu) $(if $(MINUTES),--minutes $(MINUTES))

check: $(DONE)  ## lint, and fail if anything generated is stale
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m book.notebooks.editions --check
	$(PY) -m book.translate.agreement
	$(PY) -m book.checks.numbers
	$(PY) -m bench.report --check
	$(PY) -m book.checks.matrix --check

clean:  ## remove what was built, and the environments
	rm -rf build dist *.egg-info .venv .venv-book .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

python-version:
	@p="$(PYTHON)"; "$$p" -c '$(SUPPORTED)' || { \
	  echo "Python $(PYTHONS) is needed (of 3.11, 3.11.5 or newer); $$p is $$("$$p" --version 2>&1)."; \
	  echo "Install one (python.org, your system's packages, conda). If it has another name:"; \
	  echo "make PYTHON=/path/to/python3.13 ..."; exit 1; }
.PHONY: python-version

# On Linux, PyTorch from a plain index brings CUDA libraries of several GB; on other
# systems it comes without them.
TORCH_CPU = $(shell sed -n 's/^torch==\([0-9.]*\).*/torch==\1+cpu/p' requirements.txt)
define install_cpu_torch
@test "$$(uname)" != Linux || $(PY) -m pip install -q --disable-pip-version-check \
  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) '$(TORCH_CPU)' || { \
  echo "$(TORCH_CPU) was not found at $(or $(TORCH_INDEX),the index that pip asks)."; \
  echo "pytorch.org shows the address of its CPU builds, behind --index-url, if you choose"; \
  echo "Pip and CPU there: make setup CPU=1 TORCH_INDEX=that address. Without CPU=1,"; \
  echo "PyTorch brings its CUDA libraries, several GB."; exit 1; }
endef

# MXNet is installed without the dependencies that it names, which want NumPy 1: it works
# with NumPy 2, too, and what else it needs stands in requirements.txt.
MXNET := "mxnet==1.9.1; sys_platform == 'linux'"

# --no-compile: Python compiles a module when it is first imported; most never are.
$(VENV)/.done: requirements.txt pyproject.toml book/pyproject.toml | python-version
	$(PYTHON) -m venv $(VENV)
	$(if $(CPU),$(install_cpu_torch))
	$(PY) -m pip install -q --disable-pip-version-check --no-compile -r requirements.txt
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . -e ./book $(MXNET)
	@$(PY) -c "import sys; sys.platform == 'linux' or print('mxnet: skipped, it has wheels for Linux only')"
	@touch $@

.venv-book/.done: requirements.txt pyproject.toml | python-version
	$(PYTHON) -m venv .venv-book
	.venv-book/bin/python -m pip install -q --disable-pip-version-check \
	  -c requirements.txt -e '.[book]'
	@touch $@

$(NBGRADER): requirements-nbgrader.txt | $(DONE)
	rm -rf $(@D)
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --target $(@D) -r $<
	@touch $@

$(REVEAL): | $(BOOK_DONE)
	$(BOOK_PY) -m pip install -q --disable-pip-version-check --no-deps --target build/reveal \
	  sphinx-revealjs==3.2.1
