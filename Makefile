# The checks by name. `make check` is the quick one, before every commit; `make ci` the whole.
PYTHON ?= python
CXX_SOURCES = $(wildcard csrc/*.[ch]pp kernels/*.cu kernels/*.cuh kernels/*.hpp tests/emulator/*.[ch]pp tests/fuzz/*.cpp web/*.cpp)

.PHONY: help check lint types fast format test docs ci

help: ## list these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

check: ## lint, format, types and the fast tests, on two cores: under two minutes
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint types fast

lint: ## ruff and clang-format; changes nothing
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	clang-format --dry-run --Werror $(CXX_SOURCES)

types: ## mypy, strict
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy examples

fast: ## the tests that are not marked slow
	$(PYTHON) -m pytest -q -m "not slow"

format: ## format Python, C++ and CUDA in place
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .
	clang-format -i $(CXX_SOURCES)

test: ## every test: about a quarter of an hour on two cores
	$(PYTHON) -m pytest

docs: ## the documentation site, into build/site; warnings are errors
	$(PYTHON) web/build.py --if-possible
	$(PYTHON) -m mkdocs build --strict

ci: ## what CI does, in fresh environments: under 30 minutes
	.ci/run
