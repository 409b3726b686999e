# What developers and CI call; `make` alone lists the targets.

VENV := $(CURDIR)/.venv.dev
BIN := $(VENV)/bin
SHELL_FILES = rps .ci/run $(shell find rps_core sites tests benchmarks -name '*.sh')
# Where the words of .ci/words.txt are not used (LAYOUT's guideline: CONTRIBUTING.md, "English").
PROSE = rps_core rps_proxy sites conf/rps_conf benchmarks docs README.md CONTRIBUTING.md SECURITY.md CHANGELOG.md Makefile \
  pyproject.toml rps ./tests
# Debian's names for what the tests use beside Python.
PACKAGES := apache2 chromium chromium-driver curl default-jre-headless faketime firefox-esr fish groff-base haproxy libaprutil1-dbd-sqlite3 libdbd-sqlite3-perl libnet-ip-perl libnss3-tools procps python3-venv shellcheck strace util-linux \
  iproute2 lua-filesystem lua-json lua-posix lua-term lua5.3 mariadb-server munge nftables slurm-client slurm-wlm slurm-wlm-torque slurmctld slurmd slurmdbd \
  libpam-google-authenticator openssh-client openssh-server podman r-cran-irkernel runc systemd tcl8.6 tmux zsh
# Unpacked and not installed: they exclude each other, and would be in every login shell.
UNPACKED := environment-modules lmod
UNPACKED_TO := /usr/local/lib/rps-tests
# Keeps packages from starting their daemons; taken away again where it was not there.
POLICY := /usr/sbin/policy-rc.d

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: test
test: system dev ## install what the tests need, then lint and run every test
	$(MAKE) --jobs 2 lint compiled-tests
	$(BIN)/python -m pytest --numprocesses 6

# Each process of pytest-xdist would compile all tests for itself, which takes as long as several hundred of them.
.PHONY: compiled-tests
compiled-tests: dev
	env --unset=PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest --collect-only >/dev/null || true # the run says what is wrong

.PHONY: unit
unit: dev ## the fast tests only
	$(BIN)/python -m pytest tests/unit tests/contract

.PHONY: lint
lint: types text ## ruff, mypy, import contracts, shellcheck, spelling, and known vulnerabilities of what is locked

.PHONY: types
types: dev
	$(BIN)/mypy

.PHONY: text
text: dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell
	! grep --recursive --include=*.py --ignore-case --word-regexp --regexp=comet --regexp=stratus --regexp=tscc rps_core # the core names no site
	$(BIN)/codespell --dictionary .ci/words.txt $(PROSE) # docs/architecture.md, "Words"
	shellcheck $(SHELL_FILES)
	$(BIN)/python .ci/audit.py locks/dev.txt

.PHONY: bench
bench: system dev ## measure what docs/benchmarks.md claims
	$(BIN)/python benchmarks/run.py

.PHONY: fuzz
fuzz: system dev ## requests drawn by lot, for RPS_FUZZ_SECONDS by each way to the service
	RPS_FUZZ_SECONDS=$${RPS_FUZZ_SECONDS:-60} $(BIN)/python -m pytest -s tests/engines/test_fuzz.py

.PHONY: pictures
pictures: system dev ## take the pictures that the documents show
	RPS_PICTURES=1 $(BIN)/python -m pytest tests/browser/test_pages.py tests/cluster/test_laptop_browser.py tests/applications

.PHONY: dev
dev: $(VENV)/dev-stamp ## the development environment, .venv.dev

# The system's Python, where it is new enough: one that pyenv has compiled takes a fifth longer for every test.
SYSTEM_PYTHON = $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo /usr/bin/python3)
# Made by ./rps, in the way that a user gets, of what is locked and nothing else.
$(VENV)/dev-stamp: pyproject.toml locks/dev.txt
	RPS_PYTHON=$${RPS_PYTHON:-$(SYSTEM_PYTHON)} RPS_VENV=$(VENV) RPS_EXTRAS=local RPS_LOCK=locks/dev.txt ./rps --version
	$(BIN)/python -m pip install --quiet --require-hashes --requirement locks/dev.txt
	touch $@

# One file for all Pythons and platforms, by markers. Extras stay: pip before 23.3 looks for the newest version of one that
# only another package names, not for the pinned one. No address of an index is in it.
PIN = $(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-header \
  --no-emit-index-url --no-emit-find-links --no-strip-extras
LOCK = $(PIN) --group build

.PHONY: docs
docs: dev ## draw the packages in docs/architecture.md from the code
	$(BIN)/python docs/draw_packages.py

.PHONY: lock
lock: ## pin what the locks hold, to the newest versions that pyproject.toml allows
	test -x $(BIN)/python || $(MAKE) dev
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group lock
	$(LOCK) pyproject.toml --output-file locks/launcher.txt
	$(LOCK) pyproject.toml --extra proxy --output-file locks/proxy.txt
	$(LOCK) pyproject.toml --extra local --output-file locks/local.txt
	$(LOCK) pyproject.toml --extra local --group dev --output-file locks/dev.txt
	$(PIN) --group kernels --python-version 3.11 --output-file locks/kernels.txt
	$(PIN) --group applications --python-version 3.11 --output-file locks/applications.txt

# Installs elsewhere without a network (`RPS_WHEELS=`): for the release and the processor of PYTHON, with these EXTRAS.
WHEELS := dist/wheels
PYTHON := python3
EXTRAS := local
.PHONY: wheelhouse
wheelhouse: ## all that an installation needs, into dist/wheels (PYTHON=python3.12, EXTRAS=proxy)
	mkdir -p $(WHEELS)
	builder=$$(mktemp -d) && trap 'rm -rf "$$builder"' EXIT && $(PYTHON) -m venv "$$builder" && \
	pip="$$builder/bin/python -m pip --disable-pip-version-check --quiet" && \
	$$pip download --dest $(WHEELS) --require-hashes --requirement locks/$(or $(EXTRAS),launcher).txt && \
	$$pip wheel --wheel-dir $(WHEELS) --no-index --find-links $(WHEELS) '.$(if $(EXTRAS),[$(EXTRAS)])'

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
	@for package in $(UNPACKED); do \
	  to=$(UNPACKED_TO)/$$package; \
	  if [ ! -e $$to ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    debs=$$(mktemp -d) && (cd $$debs && apt-get download -qq -o APT::Sandbox::User=root $$package && \
	      dpkg --extract $$package\_*.deb unpacked) && mkdir -p $(UNPACKED_TO) && mv $$debs/unpacked $$to && rm -r $$debs; \
	  fi; \
	done

.PHONY: clean
clean: ## remove what these targets made
	rm -rf $(VENV) $(VENV).log dist build artefacts .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
