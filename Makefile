# The front door: every command that a person needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local
CACHE  ?= $(or $(QX_CACHE),$(HOME)/.cache/qx)
FUZZ_SECONDS ?= 30
FORMATTED := $(shell git ls-files '*.cpp' '*.h' 2>/dev/null)

.PHONY: help deps build test test-aarch64 test-browser test-dev test-malformed test-python test-tsan test-clang parity parity-full fuzz \
  demo example gain bench format format-check install clean

help:  ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | \
	  awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

deps:  ## install the system packages that are missing (Debian, Ubuntu; sudo where needed)
	@tools/install_deps.sh build

build: deps  ## build the program: build/qx
	@cmake --preset release >build-configure.log 2>&1 || { cat build-configure.log; rm -f build-configure.log; exit 1; }
	@rm -f build-configure.log
	@cmake --build build -j $(JOBS)

test: build  ## unit and end-to-end tests
	@tools/fetch_smollm2.sh >/dev/null || echo "SmolLM2 cannot be fetched: the tests that need it are skipped"
	@ctest --test-dir build --output-on-failure --timeout 1800 -j $(JOBS)

test-dev: deps  ## the same tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@cmake --preset dev >/dev/null
	@cmake --build build-dev -j $(JOBS)
	@ctest --test-dir build-dev --output-on-failure --timeout 1800 -j $(JOBS)

TSAN_TESTS := base_test cluster_test model_test generate_test eval_test runs_test convert_test serve_test

test-tsan: deps  ## the tests of everything that runs on several threads, under ThreadSanitizer
	@cmake --preset tsan >/dev/null
	@cmake --build build-tsan -j $(JOBS) --target $(TSAN_TESTS)
	@ctest --test-dir build-tsan --output-on-failure --timeout 1800 -j $(JOBS) -R '^($(subst $() ,|,$(TSAN_TESTS)))$$'

test-malformed: deps  ## 10,000 malformed requests and slow senders to qx serve, under AddressSanitizer and under ThreadSanitizer
	@cmake --preset dev >/dev/null && cmake --build build-dev -j $(JOBS) --target qx e2e_test
	@cmake --preset tsan >/dev/null && cmake --build build-tsan -j $(JOBS) --target qx
	@for build in dev tsan; do \
	  QX_SLOW_SENDERS=100 QX_TEST_PROGRAM=build-$$build/qx build-dev/tests/e2e_test --gtest_filter='MalformedTest.*'; done

test-clang:  ## build libraries and program with clang, each file by itself, warnings as errors, not optimized
	@tools/install_deps.sh clang
	@cmake --preset clang -DQX_TESTS=OFF >/dev/null
	@cmake --build build-clang -j $(JOBS)

test-aarch64: build  ## cross-build for 64-bit ARM; tests under qemu-user, one run per kernel table
	@tools/install_deps.sh aarch64
	@JOBS=$(JOBS) tools/test_aarch64.sh

test-browser: build  ## open report pages and the page of qx serve in a headless Chromium (skipped where there is none)
	@tests/browser/test_report.py
	@tests/browser/test_page.py

test-python: build  ## build the Python wheel and test it in a new virtual environment (skipped where pip has no network)
	@tools/install_deps.sh python
	@tools/test_python.sh

parity: build  ## compare with the real mlx-lm, lm-eval, transformers, tokenizers and jinja2
	@JOBS=$(JOBS) tools/parity.sh

parity-full: build  ## the long comparison with the peers on the real items of QX_DATA; keeps its result
	@JOBS=$(JOBS) tools/parity_full.sh

fuzz:  ## run each fuzzer for FUZZ_SECONDS (30) on the kept corpus
	@tools/install_deps.sh clang
	@JOBS=$(JOBS) tools/fuzz.sh $(FUZZ_SECONDS)

demo: build  ## the main job on a real model: import, convert, generate, evaluate, compare
	@tools/demo.sh

example: build  ## the worked example of the docs on the real items of QX_DATA (and QX_TEXT): writes docs/example
	@tools/example.sh

gain: build  ## what a search gains over plain recipes, honestly, on SmolLM2 (QX_TEXT, QX_DATA): writes docs/gain
	@tools/gain.sh

bench: deps  ## micro-benchmarks of the kernels and the codec
	@tools/install_deps.sh bench
	@cmake --preset bench >/dev/null
	@cmake --build build-bench -j $(JOBS)
	@for b in build-bench/bench/*_bench; do echo "== $$b"; $$b; done

format:  ## clang-format every source file
	@tools/install_deps.sh format
	@clang-format -i $(FORMATTED)

format-check:  ## fail when clang-format would change a file
	@tools/install_deps.sh format
	@clang-format --dry-run --Werror $(FORMATTED)

install: build  ## install the program, its recipes and completions under PREFIX (/usr/local)
	@cmake --install build --prefix $(PREFIX)

clean:  ## remove every build folder and the demo's output
	@rm -rf build build-dev build-tsan build-clang build-aarch64 build-fuzz build-bench build-python demo
