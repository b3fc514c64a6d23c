# Fleetmark's tasks. `make demo` and `make test` need nothing but Python 3.10+ with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
VERSION_FILE := core/fleetmark_core/version.py

.PHONY: help demo test test-fast test-all test-arm64 simulate faults bench-resolve bench-schedule bench-fleet bench-agent \
	bench-fidelity bench-models bench-results bench-sandbox mlperf-check mlperf-results mlperf-verify mlperf-campaign fuzz lint stubs docs setup locks release agent-kit clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.controller ## Run the main job: controller, agent, default suite, report
	@$(BIN)/controller demo

test-fast: $(VENV)/.dev ## Run the unit tests: no processes, sockets or sleeps; under a minute
	@$(BIN)/python -m pytest -n 2 --dist worksteal --hypothesis-profile quick tests/unit

test: $(VENV)/.dev ## Run the tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not faults and not arm64"

test-all: $(VENV)/.dev ## Run the tests, slow ones too
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not faults and not arm64"

test-arm64: $(VENV)/.dev ## Run the unmodified agent on emulated arm64 devices: builds their userland once
	@$(BIN)/python -m pytest tests/arm64 -m arm64 -s

SEEDS ?= 10000
SEED_START ?= 0
simulate: $(VENV)/.dev ## Simulate the protocol under faults: SEEDS=10000 [SEED_START=n]
	@$(BIN)/python -m tests.simulation.simulate --seeds $(SEEDS) --start $(SEED_START)

INPUTS ?= 20000
fuzz: $(VENV)/.dev ## Feed every parser of outside input with damaged and invented inputs: INPUTS=20000
	@INPUTS=$(INPUTS) $(BIN)/python -m pytest -n 2 --dist load -m fuzz --timeout 0

REPEAT ?= 5
faults: $(VENV)/.dev ## Kill, stop, cut and fill real processes: REPEAT=5
	@REPEAT=$(REPEAT) $(BIN)/python -m pytest tests/faults -m faults -s

bench-resolve: $(VENV)/.dev ## Measure resolving: 1,000 components, 100 devices
	@$(BIN)/python bench/resolve.py

IDLE_S ?= 32
bench-agent: $(VENV)/.dev ## Measure an idle agent beside a bare client: REPEAT=5 [IDLE_S=32]
	@$(BIN)/python bench/footprint.py --repeat $(REPEAT) --idle-s $(IDLE_S)

ROUNDS ?= 12
BLOCK_S ?= 4
bench-fidelity: $(VENV)/.dev ## Compare jobs with bare loops: ROUNDS=12 [BLOCK_S=4]
	@$(BIN)/python bench/fidelity.py --rounds $(ROUNDS) --seconds $(BLOCK_S)

bench-models: $(VENV)/.dev ## Compare the harness with bare loops on each runtime: ROUNDS=12 [BLOCK_S=4]
	@$(BIN)/python bench/models.py --rounds $(ROUNDS) --seconds $(BLOCK_S)

bench-sandbox: $(VENV)/.dev ## Measure what the sandbox costs a 1 ms model: ROUNDS=12 [BLOCK_S=4]
	@$(BIN)/python bench/sandbox.py --rounds $(ROUNDS) --seconds $(BLOCK_S)

SAMPLES ?= 10000000
bench-results: $(VENV)/.dev ## Measure exports of samples beside their floors: SAMPLES=10000000
	@$(BIN)/python bench/results.py --samples $(SAMPLES)

bench-schedule: $(VENV)/.dev ## Measure scheduling: 10,000 waiting jobs, 1,000 devices
	@$(BIN)/python bench/schedule.py

AGENTS ?= 1000
MORE ?= 5000
bench-fleet: $(VENV)/.dev ## Measure a fleet beside its floor, labgrid and Flower: AGENTS=1000 [MORE=5000]
	@$(BIN)/python bench/fleet.py --agents $(AGENTS) --more $(MORE)

ROUND ?= v6.1
DIVISION ?= open
MLPERF_SECONDS ?= 600
CHECKER_PYTHON ?= python3
mlperf-check: $(VENV)/.dev ## Run an official checker on an exported tree: MLPERF_CHECKERS=folder TREE=path [ROUND=v6.1]
	@$(BIN)/python bench/official_checker.py --checkers "$(MLPERF_CHECKERS)" --tree "$(TREE)" \
		--round $(ROUND) --python $(CHECKER_PYTHON)

mlperf-results: $(VENV)/.dev ## Compare MLCommons' published results with the table of them: RESULTS=checkout ROUND=v5.1
	@$(BIN)/python bench/mlperf_results.py --results "$(RESULTS)" --round $(ROUND)

mlperf-verify: $(VENV)/.dev ## Run the official scripts of TEST01 and TEST04: MLPERF_CHECKERS=folder TREE=path [ROUND=v6.1]
	@$(BIN)/python bench/official_compliance.py --checkers "$(MLPERF_CHECKERS)" --tree "$(TREE)" \
		--round $(ROUND)

mlperf-campaign: $(VENV)/.dev ## Measure, export and check a round: MLPERF_CHECKERS=folder [ROUND=v6.1] [DIVISION=open] [MLPERF_SECONDS=600]
	@$(BIN)/python bench/mlperf_campaign.py --checkers "$(MLPERF_CHECKERS)" --round $(ROUND) \
		--division $(DIVISION) --seconds $(MLPERF_SECONDS) --mirror "$(FLEETMARK_TEST_MIRROR)" \
		--python $(CHECKER_PYTHON)

lint: $(VENV)/.dev ## Check style, types, imports, stubs, shell scripts, containers and documents
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy deploy/write_config.py deploy/lock_for.py deploy/runtime_lock.py deploy/release_checks.py docs/site/*.py
	@MYPYPATH=bench $(BIN)/mypy bench/*.py
	@$(BIN)/shellcheck deploy/*.sh deploy/*/*.sh .ci/run
	@$(BIN)/hadolint deploy/container/Containerfile.*
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	@$(BIN)/lint-imports --config pyproject.toml
	@$(BIN)/python -m fleetmark_protos.generate --check
	@$(BIN)/python -m pytest -q tests/unit/test_words.py
	@$(SITE)

stubs: $(VENV)/.dev ## Regenerate the committed gRPC stubs
	@$(BIN)/python -m fleetmark_protos.generate

# The variable silences the theme's advice about a later MkDocs, which the lockfiles exclude.
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file docs/site/mkdocs.yml
docs: $(VENV)/.dev ## Write the pages that are made from code, and build the site: dist/site
	@$(BIN)/python -m fleetmark_controller.export.document > docs/reference/views.md
	@$(BIN)/python docs/site/write_configuration.py > docs/reference/configuration.md
	@$(BIN)/python docs/site/write_commands.py agent > docs/reference/agent-commands.md
	@$(BIN)/python docs/site/write_commands.py controller > docs/reference/controller-commands.md
	@$(BIN)/python docs/site/write_protocol.py > docs/reference/protocol.md
	@$(SITE)

setup: $(VENV)/.dev ## Install everything for development into .venv

locks: $(VENV)/.dev ## Resolve the locked dependencies anew
	@sh deploy/locks/update.sh $(BIN)/uv

CHECK_ONLY ?=
release: $(VENV)/.dev ## Build and check the distributions in dist/, and tag the version: [CHECK_ONLY=1]
	@sh deploy/release.sh $(if $(CHECK_ONLY),--dry-run) $(BIN)/python

agent-kit: $(VENV)/.dev ## Pack what devices without internet are installed from
	@PYTHON=$(BIN)/python sh deploy/make-agent-kit.sh dist/fleetmark-agent-kit.tar.gz

clean: ## Remove the virtual environment and what tools left
	@rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/.base:
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# The development set holds everything that the controller's holds, in the same versions.
$(VENV)/.controller: $(VENV)/.base deploy/locks/controller.txt pyproject.toml $(VERSION_FILE)
	@test -f $(VENV)/.dev || $(PIP) install --require-hashes -r deploy/locks/controller.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.base deploy/locks/dev.txt pyproject.toml $(VERSION_FILE)
	@echo "Installing the development tools (once)"
	@$(PIP) install --require-hashes -r deploy/locks/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
