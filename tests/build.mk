# SPDX-License-Identifier: Apache-2.0
# Tests, lint and format. tests/run.sh counts and prints the closing line.
.PHONY: format format-check
format: ## reformat every C file
	clang-format -i $(shell git ls-files '*.c' '*.h')
format-check:
	clang-format --dry-run -Werror $(shell git ls-files '*.c' '*.h')
