# SPDX-License-Identifier: Apache-2.0
# Tests, lint and format. tests/run.sh runs, counts and prints the closing line.

C_FILES = $(shell git ls-files '*.c' '*.h')

.PHONY: check check-asan check-tsan fuzz soak check-build lint format format-check
check: ## every test: installs what it needs, ends with "N passed, N failed"
	tools/deps.sh test
	$(MAKE) check-build
	tests/run.sh

# A sub-make, because pkg-config answers only once deps.sh has installed what it asks for.
check-build: all kernel-debian unit
	$(MAKE) VARIANT=asan unit
	$(MAKE) VARIANT=fuzz fuzz-targets

check-asan: ## unit and protocol tests under AddressSanitizer and UBSan
	$(MAKE) VARIANT=asan unit
	tests/run.sh asan

check-tsan: ## unit tests under ThreadSanitizer
	$(MAKE) VARIANT=tsan unit
	tests/run.sh tsan

fuzz: ## every fuzz target for TIME seconds (60)
	$(MAKE) VARIANT=fuzz fuzz-targets
	FUZZ_SECONDS=$(or $(TIME),60) tests/run.sh fuzz

soak: ## 50 sandboxes, 8 at once, 100 starts: counts processes, fds, mounts, sockets, files
	tools/deps.sh test
	$(MAKE) all kernel-debian
	tests/soak.sh

lint: ## clang-tidy, cppcheck, shellcheck, layers, format, and a clang build
	tools/deps.sh test lint
	$(MAKE) VARIANT=clang all unit
	tools/lint/lint.sh

format: ## reformat every C file
	clang-format -i $(C_FILES)

format-check:
	clang-format --dry-run -Werror $(C_FILES)
