# What developers and CI call; `make` alone lists the targets.

VENV := $(CURDIR)/.venv.dev
BIN := $(VENV)/bin
SHELL_FILES = rps .ci/run $(shell find rps_core sites tests benchmarks -name '*.sh')
# Debian's names for what the tests use beside Python.
PACKAGES := apache2 chromium chromium-driver curl faketime fish groff-base haproxy libaprutil1-dbd-sqlite3 libnss3-tools procps python3-venv shellcheck strace util-linux \
  iproute2 mariadb-server munge nftables slurm-client slurm-wlm slurm-wlm-torque slurmctld slurmd slurmdbd systemd tmux zsh
# Keeps packages from starting their daemons; taken away again where it was not there.
POLICY := /usr/sbin/policy-rc.d

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: test
test: system dev lint ## install what the tests need, then lint and run every test
	$(BIN)/python -m pytest --numprocesses 2

.PHONY: unit
unit: dev ## the fast tests only
	$(BIN)/python -m pytest tests/unit tests/contract

.PHONY: lint
lint: dev ## ruff, mypy and shellcheck
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	shellcheck $(SHELL_FILES)

.PHONY: bench
bench: system dev ## measure what docs/benchmarks.md claims
	$(BIN)/python benchmarks/run.py

.PHONY: pictures
pictures: system dev ## take the pictures that the documents show
	RPS_PICTURES=1 $(BIN)/python -m pytest tests/browser/test_pages.py

.PHONY: dev
dev: $(VENV)/dev-stamp ## the development environment, .venv.dev

# Made by ./rps, in the way and with the Python that a user gets.
$(VENV)/dev-stamp: pyproject.toml
	RPS_VENV=$(VENV) RPS_EXTRAS=local ./rps --version
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

.PHONY: system
system: ## the programs that the tests use, by apt where this is root
	@missing=$$(for package in $(PACKAGES); do \
	  dpkg-query --show --showformat '$${db:Status-Abbrev}' $$package 2>/dev/null | grep -q ^ii || \
	  echo $$package; done); \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  if [ ! -e $(POLICY) ]; then \
	    trap 'rm -f $(POLICY)' EXIT; \
	    printf '#!/bin/sh\nexit 101\n' >$(POLICY); chmod 755 $(POLICY); \
	  fi; \
	  apt-get update -qq && apt-get install -qq --yes --no-install-recommends $$missing; \
	else echo "not installed, tests that need them are left out: "$$missing; fi

.PHONY: clean
clean: ## remove what these targets made
	rm -rf $(VENV) $(VENV).log dist build artefacts .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
