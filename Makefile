# What an operator or developer types. `make help` lists it. Needs Python >= 3.11 with venv, and nothing else.

.DEFAULT_GOAL := help
.PHONY: help run install install-systemd test check lint up down bench clean
.DELETE_ON_ERROR:
# Two pips at once in one environment would spoil it.
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# compat: a path, not a program of setuptools that each Python would run when it begins.
EDITABLE := --config-settings editable_mode=compat --editable
SERVICE_USER ?= ami
DESCRIPTION := setup.cfg pyproject.toml

help:  ## show this list
	@echo "ami: online analysis of every event of an experiment"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'
	@echo
	@echo "  make run SOURCE=hdf5:///data/run7.h5 GRAPH=my.yaml     other input, another graph"
	@echo "  make test ARGS='tests/unit -k ring'                    some tests"

run: $(VENV)/.installed  ## run a node in the foreground until Ctrl-C: SOURCE=URI, GRAPH=FILE
	@set --; \
	if [ -n "$$SOURCE" ]; then set -- "$$@" --source "$$SOURCE"; fi; \
	if [ -n "$$GRAPH" ]; then set -- "$$@" --graph "$$GRAPH"; fi; \
	exec bin/ami node "$$@"

install: $(VENV)/.installed  ## make .venv and install ami into it

# Four at once, on two cores: most of them wait, mostly (tests/conftest.py). A file stays with one of them, which share no server.
# Code stays its owner's: the user of the service gets var, and conf for `ami cluster join`. DESTDIR: for packages, and tests.
install-systemd: $(VENV)/.installed  ## make ami a service of this machine, as root: SERVICE_USER=ami
	@set -e; units='$(DESTDIR)/etc/systemd/system'; users='$(DESTDIR)/usr/lib/sysusers.d'; install -d "$$units" "$$users"; \
	here() { sed 's#/opt/ami#$(CURDIR)#g; s#^\(User\|Group\)=ami$$#\1=$(SERVICE_USER)#; s#^u ami#u $(SERVICE_USER)#' "$$1" > "$$2"; chmod 644 "$$2"; }; \
	for unit in ami-node.service ami.target; do here conf/systemd/$$unit "$$units/$$unit"; done; \
	here conf/systemd/ami.sysusers "$$users/ami.conf"; \
	if [ -z '$(DESTDIR)' ]; then \
	    systemd-sysusers ami.conf; chown -R $(SERVICE_USER): var conf; chmod 700 var; \
	    systemctl daemon-reload; systemctl enable ami.target ami-node.service; \
	fi; \
	echo "start it: systemctl start ami.target; look: systemctl status ami-node, and as $(SERVICE_USER): bin/ami status"

test: $(VENV)/.test  ## set up what is missing and run the tests: ARGS=...
	@# Otherwise thousands of processes compile the same modules, where Python may not write what it compiled.
	@$(BIN)/python -m compileall -q ami
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -P -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint test  ## format, lint, types, import contracts, tests

lint: $(VENV)/.check  ## the checks without the tests
	@failed=0; \
	for command in "ruff format --check ." "ruff check ." mypy lint-imports; do \
	    echo "$$command"; $(BIN)/$$command || failed=1; \
	done; \
	exit $$failed

up: $(VENV)/.installed  ## start a node in the background
	@bin/ami up

down:  ## stop the node that make up started
	@bin/ami down

bench: $(VENV)/.test  ## measure how fast it is: ARGS=...
	@bin/ami bench $(ARGS)

clean:  ## remove the virtual environment, caches and what a stopped node left in var
	@if $(BIN)/supervisorctl -c conf/supervisord.conf pid >/dev/null 2>&1; then echo "a node runs here: make down"; exit 1; fi
	rm -rf $(VENV) build ami.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find ami tests -name __pycache__ -type d -prune -exec rm -rf {} +
	find var -mindepth 1 ! -path var/log ! -path var/log/.gitkeep -delete

# A stamp is newer than the description when all that it asks for is installed.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "ami needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) --version 2>&1): make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { \
	    echo "$(PYTHON) has no venv; on Debian: apt install python3-venv"; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(DESCRIPTION) | $(BIN)/python
	@echo "installing ami into $(VENV)"
	@$(PIP) install --quiet $(EDITABLE) .
	@# Otherwise ten processes would compile the same modules at once at the first make run.
	@$(BIN)/python -m compileall -q ami
	@touch $@

$(VENV)/.test: $(DESCRIPTION) | $(BIN)/python
	@echo "installing ami and what its tests need into $(VENV)"
	@$(PIP) install --quiet $(EDITABLE) '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.check: $(DESCRIPTION) | $(BIN)/python
	@echo "installing ami and what its checks need into $(VENV)"
	@$(PIP) install --quiet $(EDITABLE) '.[check]'
	@touch $@ $(VENV)/.test $(VENV)/.installed
