# Everything starts here; CI runs these targets and nothing else. `make help` lists them.
# Stamps under .cache/ remember what was done, so that a second run of anything is quick.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= python3
FUZZ_SECONDS ?= 300
STATE ?= var

export UV_PYTHON := $(PYTHON)
export UV_PYTHON_DOWNLOADS := never
# Of the 3 s that a server took to start without bytecode, it saves a half; the tests start 150.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE
export CARGO_TERM_PROGRESS_WHEN ?= auto

VENV := .venv/bin
UV := $(or $(shell command -v uv),.cache/uv/bin/uv)
CARGO_MANIFEST := --manifest-path rust/plane/Cargo.toml
LOAD_MANIFEST := --manifest-path rust/load/Cargo.toml
# What both depend on is compiled once.
LOAD_TARGET := --target-dir rust/plane/target
RUST_SOURCES := $(shell find rust -name '*.rs' -not -path '*/target/*') \
  $(wildcard rust/plane/Cargo.toml rust/plane/Cargo.lock)
WEB_SOURCES := $(shell find web -type f -not -path '*/node_modules/*' 2>/dev/null)
STATIC := src/heliograph/web/static
PEERS := .cache/interop.stamp .cache/interop-node.stamp
say = printf '\033[1m── %s\033[0m\n' "$(1)"

# Debian's names of the other people's programs that the interop tests play against.
INTEROP := chromium ffmpeg mpv iproute2 iptables curl nginx apache2-bin wrk caddy postgresql \
  python3-gi gir1.2-gst-rtsp-server-1.0 \
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
  gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-rtsp \
  gstreamer1.0-nice gir1.2-gst-plugins-bad-1.0 firefox-esr coturn

.PHONY: help setup run test interop check bench fuzz probe soak clean FORCE \
  test-rust test-web test-python check-python check-rust check-web check-docs

help: ## list the targets
	@sed -nE 's/^([a-z -]+):.*## (.*)/  make \1|\2/p' Makefile | column -t -s '|'

# ── set-up

setup: .cache/python.stamp .cache/web.stamp ## build everything; nothing outside this directory

run: setup ## set up and start the server with a demo channel and a demo title
	@exec $(VENV)/helio serve --demo --state $(STATE)

.cache/tools.stamp: Makefile
	@mkdir -p .cache
	@need() { command -v "$$1" >/dev/null || { echo "make: $$1 is missing: $$2" >&2; exit 1; }; }
	need $(PYTHON) "install Python 3.11 or newer"
	need cargo "install Rust, https://rustup.rs"
	need cc "install a C compiler (Debian: build-essential)"
	need npm "install Node.js 20 or newer (Debian: nodejs npm)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $$($(PYTHON) -V) is too old: 3.11 is needed (set PYTHON=…)" >&2; exit 1; }
	touch $@

.cache/uv/bin/uv: | .cache/tools.stamp
	@$(call say,installing uv into .cache/uv)
	$(PYTHON) -m venv .cache/uv \
	  || { echo "make: $(PYTHON) -m venv fails (Debian: apt-get install python3-venv)" >&2; exit 1; }
	.cache/uv/bin/pip install --disable-pip-version-check uv

# A deleted .venv or extension module outdates the stamp.
.cache/python.stamp: pyproject.toml uv.lock README.md $(RUST_SOURCES) \
  $(if $(wildcard $(VENV)/python),,FORCE) $(if $(wildcard src/heliograph/plane/_plane*.so),,FORCE) \
  | .cache/tools.stamp $(UV)
	@$(call say,Python packages and the packet plane (Rust; a minute the first time))
	$(UV) sync --frozen --reinstall-package heliograph
	@touch $@

# A lock file written against a mirror without other platforms' optional packages (Biome's programs)
# lacks them, and `npm ci` refuses it; `npm install --no-save` installs the locked versions all the same.
.cache/web-packages.stamp: $(wildcard web/package.json web/package-lock.json) \
  $(if $(wildcard web/node_modules),,FORCE) | .cache/tools.stamp
	@$(call say,packages of the web pages)
	cd web
	npm ci --no-audit --no-fund --loglevel=silent || npm install --no-save --no-audit --no-fund
	cd ..
	@touch $@

.cache/web.stamp: .cache/web-packages.stamp $(WEB_SOURCES) $(if $(wildcard $(STATIC)/*),,FORCE)
	@$(call say,web pages)
	(cd web && npm run build)
	@touch $@

.cache/interop.stamp: Makefile
	@mkdir -p .cache
	@if command -v dpkg-query >/dev/null; then
	  missing=$$(for p in $(INTEROP); do
	    dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done)
	  if [ -n "$$missing" ]; then
	    $(call say,players and servers to test against)
	    sudo=; if [ "$$(id -u)" != 0 ]; then sudo=sudo; fi
	    if [ -n "$$sudo" ] && ! command -v sudo >/dev/null; then
	      echo "make: as root: apt-get install" $$missing >&2; exit 1; fi
	    : "as Debian has it, so that none of them is started as a service meanwhile"
	    policy=/usr/sbin/policy-rc.d; ours=
	    trap 'if [ -n "$$ours" ]; then $$sudo rm -f $$policy; fi' EXIT
	    if [ ! -e $$policy ]; then
	      ours=1; printf '#!/bin/sh\nexit 101\n' | $$sudo tee $$policy >/dev/null
	      $$sudo chmod 755 $$policy; fi
	    install() { $$sudo env DEBIAN_FRONTEND=noninteractive \
	      apt-get install -y --no-install-recommends "$$@" </dev/null; }
	    install $$missing || { $$sudo apt-get update </dev/null; install $$missing; }
	    : "nor later: it would relay for anybody"
	    case "$$missing" in *coturn*) $$sudo update-rc.d coturn disable >/dev/null 2>&1 || true;; esac
	  fi
	else
	  for p in chromium ffmpeg mpv ip tc iptables curl nginx apache2 caddy initdb gst-launch-1.0 \
	    firefox-esr turnserver; do
	    command -v $$p >/dev/null || { echo "make: the tests need $$p" >&2; exit 1; }; done
	fi
	touch $@

NODE_PEERS := tests/interop/node
.cache/interop-node.stamp: $(NODE_PEERS)/package.json $(NODE_PEERS)/package-lock.json \
  $(if $(wildcard $(NODE_PEERS)/node_modules),,FORCE) | .cache/tools.stamp
	@$(call say,players and judges of HLS to test against)
	(cd $(NODE_PEERS) && npm ci --no-audit --no-fund --loglevel=error)
	@touch $@

# ── tests

test: setup test-rust test-web test-python ## all tests

test-rust: .cache/tools.stamp
	@$(call say,cargo test)
	cargo test $(CARGO_MANIFEST) --no-default-features
	cargo test $(LOAD_MANIFEST) $(LOAD_TARGET)

test-web: .cache/web-packages.stamp
	@$(call say,web tests)
	(cd web && CI=true npm run test </dev/null)

test-python: setup $(PEERS)
	@$(call say,pytest)
	# Tests wait as long as they work: three at a time keep two cores busy. What other people's
	# players do not get in time they take for lost: two.
	$(VENV)/pytest -n 3 -m "not (long or browser or alone)" \
	  tests/unit tests/contract tests/fuzz tests/system </dev/null
	$(VENV)/pytest -n 2 -m "not (long or browser or alone)" tests/interop </dev/null
	# Browsers, and what is measured, would take each other's work for faults of the network.
	$(VENV)/pytest -m "not long and (browser or alone)" \
	  tests/contract tests/interop tests/system </dev/null

# A part of test-python, for those who change what other people's programs get to see.
interop: setup $(PEERS) ## only the tests with other people's publishers and viewers
	@$(VENV)/pytest tests/interop </dev/null

check: setup check-python check-rust check-web check-docs ## formats, linters, types, docs

check-python: .cache/python.stamp
	@$(call say,ruff · mypy · import-linter · stubtest)
	$(VENV)/ruff format --check
	$(VENV)/ruff check
	$(VENV)/mypy
	$(VENV)/lint-imports
	$(VENV)/stubtest heliograph.plane._plane

check-rust: .cache/tools.stamp
	@$(call say,rustfmt · clippy · rustdoc)
	cargo fmt $(CARGO_MANIFEST) --check
	cargo fmt $(LOAD_MANIFEST) --check
	cargo clippy $(CARGO_MANIFEST) --all-targets --features python -- -D warnings
	cargo clippy $(LOAD_MANIFEST) $(LOAD_TARGET) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_MANIFEST) --no-deps --features python

check-web: .cache/web-packages.stamp
	@$(call say,biome · tsc)
	(cd web && npm run check)

check-docs: .cache/python.stamp
	@$(call say,links and commands of the documentation)
	$(VENV)/python scripts/check_docs.py

# ── longer runs

bench: setup $(PEERS) ## figures beside the bare kernel and other servers (docs/performance.md)
	$(VENV)/python -m tests.perf

fuzz: .cache/python.stamp ## every parser for FUZZ_SECONDS each (300)
	@failed=
	for target in tests/fuzz/fuzz_*.py; do
	  [ -e "$$target" ] || { echo "no fuzz targets yet"; exit 0; }
	  name=$$(basename $$target .py); name=$${name#fuzz_}
	  $(call say,fuzz $$name for $(FUZZ_SECONDS) s)
	  mkdir -p .cache/fuzz/$$name tests/data/fuzz/$$name
	  PYTHONPATH=src nice -n 10 $(VENV)/python $$target -max_total_time=$(FUZZ_SECONDS) \
	    -artifact_prefix=.cache/fuzz/$$name- .cache/fuzz/$$name tests/data/fuzz/$$name \
	    </dev/null || failed="$$failed $$name"
	done
	[ -z "$$failed" ] || { echo "found something in:$$failed (inputs in .cache/fuzz)" >&2; exit 1; }

REPEAT ?= 1
PROBES ?= tests/probe

# Debian has it with a GStreamer that is new enough in its next release only: `make test` does not wait
# for that.
.cache/whip-client.stamp: scripts/whip_client.sh
	@$(call say,simple-whip-client to test against)
	scripts/whip_client.sh .cache/whip-client
	touch $@

probe: setup $(PEERS) ## tests that make networks and kill processes; REPEAT=20: so many times, summed up; PROBES: of these files
	@$(call say,networks that break and processes that are killed)
	if [ $(REPEAT) = 1 ]; then
	  : "without it the test that needs it fails, and no other"
	  $(MAKE) --no-print-directory .cache/whip-client.stamp || true
	  $(VENV)/pytest -m long --ignore=tests/probe </dev/null
	  $(VENV)/pytest $(PROBES) </dev/null
	else
	  $(VENV)/python scripts/repeat.py $(REPEAT) .cache/repeat $(VENV)/pytest $(PROBES)
	fi

SOAK_SECONDS ?= 3600

soak: setup $(PEERS) ## a cluster to which everything happens, for SOAK_SECONDS (an hour)
	@$(call say,random faults for $(SOAK_SECONDS) s)
	HELIO_CHAOS_SECONDS=$(SOAK_SECONDS) $(VENV)/pytest -s tests/probe/test_chaos.py </dev/null

clean: ## remove what was built; state in var/ stays
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf web/node_modules $(NODE_PEERS)/node_modules $(STATIC) rust/plane/target rust/load/target src/heliograph/plane/_plane*.so

# One shell a recipe: the multi-line conditions above need it.
.ONESHELL:
FORCE:
