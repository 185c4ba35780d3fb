# Two commands for a fresh clone: `make demo` and `make test`. Each creates its own environment.
PYTHON ?= python3
PIP_FLAGS ?= --disable-pip-version-check --quiet
STAMP := .stamp-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
DEMO := .venv-demo
DEV := .venv
DOCS := .venv-docs
DATA ?= ../shared/data

.PHONY: demo test check bench docs clean

$(DEMO)/$(STAMP):
	@echo "Installing the core, LangChain and LlamaIndex into $(DEMO) (no torch) ..."
	$(PYTHON) -m venv --clear $(DEMO)
	$(DEMO)/bin/pip install $(PIP_FLAGS) -c constraints.txt -e ".[langchain,llama-index]"
	@touch $@

$(DEV)/$(STAMP):
	@echo "Installing everything that the tests need into $(DEV) (torch included) ..."
	$(PYTHON) -m venv --clear $(DEV)
	$(DEV)/bin/pip install $(PIP_FLAGS) --upgrade "pip>=25.1"
	$(DEV)/bin/pip install $(PIP_FLAGS) -c constraints.txt --group dev -e ".[all]"
	@touch $@

$(DOCS)/$(STAMP):
	@echo "Installing what builds the site into $(DOCS) ..."
	$(PYTHON) -m venv --clear $(DOCS)
	$(DOCS)/bin/pip install $(PIP_FLAGS) --upgrade "pip>=25.1"
	$(DOCS)/bin/pip install $(PIP_FLAGS) -c constraints.txt --group docs
	@touch $@

demo: $(DEMO)/$(STAMP)
	@$(DEMO)/bin/python examples/demo.py

test: $(DEV)/$(STAMP)
	HF_HUB_OFFLINE=1 $(DEV)/bin/python -m pytest --cov --cov-report=term

check: $(DEV)/$(STAMP)
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

bench: $(DEV)/$(STAMP)
	$(DEV)/bin/python benchmarks/quality.py --data $(DATA)
	$(DEV)/bin/python benchmarks/tables.py

docs: $(DOCS)/$(STAMP)
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict
	@echo "Open site/index.html."

clean:
	rm -rf $(DEMO) $(DEV) $(DOCS) site build dist .mypy_cache .ruff_cache .pytest_cache
