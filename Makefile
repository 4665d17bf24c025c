# make demo   install into .venv and run the demo
# make test   install what tests need and run every check, WORKERS files at a time
PYTHON ?= python3
TORCH ?=
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin

# TORCH=cpu takes the small build of torch without CUDA.
CPU_INDEX := https://download.pytorch.org/whl/cpu
PIP_FLAGS := $(if $(filter cpu,$(TORCH)),--extra-index-url $(CPU_INDEX))

.PHONY: demo test lint venv dev clean
.DELETE_ON_ERROR:

demo: venv
	$(BIN)/s6 cog demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/python -m tests.contracts.lengths

venv: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(call install,.)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints.txt
	$(call install,.[dev])
	@touch $@ $(VENV)/.installed

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "cogkp needs Python 3.10 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "this Python cannot make environments; on Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# uv is pip's faster twin. It does not read pip's settings, so it is told of them, and pip steps in where it fails.
define install
	@$(BIN)/python -m pip install --quiet uv 2>/dev/null || true
	@echo "installing '$(1)' into $(VENV)"
	@UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(if $(PIP_FLAGS),false,$(BIN)/uv pip install --quiet \
	    --python $(BIN)/python -c constraints.txt -e '$(1)') 2>/dev/null \
	  || $(BIN)/python -m pip install --no-compile $(PIP_FLAGS) -c constraints.txt -e '$(1)'
endef

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build
