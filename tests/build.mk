# SPDX-License-Identifier: Apache-2.0
# Tests, lint and format. tests/run.sh runs, counts and prints the closing line.

C_FILES = $(shell git ls-files '*.c' '*.h')

.PHONY: check check-asan check-tsan fuzz soak check-build lint format format-check
check: ## every test: installs what it needs, ends with "N passed, N failed"
	tools/deps.sh test
	$(MAKE) -j$$(nproc) check-build
	tests/run.sh

# A sub-make, because pkg-config answers only once deps.sh has installed what it asks for.
check-build: all unit
	$(MAKE) VARIANT=asan unit
	$(MAKE) VARIANT=fuzz fuzz-targets

check-asan: all ## unit and protocol tests under AddressSanitizer and UBSan
	$(MAKE) -j$$(nproc) VARIANT=asan unit
	tests/run.sh asan

check-tsan: all ## unit tests under ThreadSanitizer
	$(MAKE) -j$$(nproc) VARIANT=tsan unit
	tests/run.sh tsan

fuzz: ## every fuzz target for TIME seconds (60)
	$(MAKE) -j$$(nproc) VARIANT=fuzz fuzz-targets
	FUZZ_SECONDS=$(or $(TIME),60) tests/run.sh fuzz

soak: ## 50 sandboxes, 8 at once, 100 starts: counts processes, fds, mounts, sockets, files
	tools/deps.sh test
	$(MAKE) -j$$(nproc) all
	tests/soak.sh

lint: ## clang-tidy, cppcheck, shellcheck, layers, format, and a clang build
	tools/deps.sh test lint
	$(MAKE) -j$$(nproc) VARIANT=clang all unit
	tools/lint/lint.sh

format: ## reformat every C file
	clang-format -i $(C_FILES)

format-check:
	clang-format --dry-run -Werror $(C_FILES)

# For tests/e2e/vmm.bats: a client of the worker, and machines with a PID 1 of a few lines.
E2E_SHARE := $(B)/e2e/share
check-build: $(B)/e2e/vmm_driver $(B)/e2e/fsmount $(B)/e2e/lowlevel_fs $(B)/e2e/cutdisk $(E2E_SHARE)/initramfs $(E2E_SHARE)/vmlinux
# For tests/e2e/migrate.bats: a file server for a machine started by hand, and its PID 1.
check-build: $(B)/e2e/fsserve $(E2E_SHARE)/migrate.initramfs

$(B)/e2e/vmm_driver $(B)/e2e/fsmount $(B)/e2e/fsserve: $(B)/e2e/%: $(B)/obj/tests/e2e/%.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(OPT) -o $@ $< $(LDFLAGS) -Wl,--start-group $(ARCHIVES) -Wl,--end-group

# libfuse programs that know nothing of msb, built as such.
$(B)/e2e/lowlevel_fs $(B)/e2e/cutdisk: $(B)/e2e/%: tests/e2e/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 $(WARN) -O2 -D_GNU_SOURCE $(PKG_CFLAGS) -o $@ $< $(shell pkg-config --libs fuse3) -pthread

# For tests/e2e/roots.bats: PID 1 of a mixtape.
check-build: $(B)/e2e/mixtape_init
# For tests/e2e/idmap.bats, passthrough.bats and mounts.bats: also to be run in a guest.
check-build: $(B)/e2e/idmap $(B)/e2e/handle

$(B)/e2e/tiny_init $(B)/e2e/migrate_init $(B)/e2e/mixtape_init $(B)/e2e/idmap $(B)/e2e/handle: $(B)/e2e/%: tests/e2e/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 $(WARN) -D_GNU_SOURCE -Os -static -o $@ $<

$(E2E_SHARE)/initramfs: $(B)/e2e/tiny_init build/kernel/debian/version tools/initramfs
	@mkdir -p $(@D)
	tools/initramfs $< build/kernel/debian/modules $@

$(E2E_SHARE)/migrate.initramfs: $(B)/e2e/migrate_init tools/initramfs
	@mkdir -p $(@D)
	tools/initramfs $< "" $@

$(E2E_SHARE)/vmlinux: build/kernel/debian/version
	@mkdir -p $(@D)
	ln -f build/kernel/debian/vmlinux $@
	@touch $@

# For tests/e2e/fs_model.bats.
check-build: $(B)/e2e/fs_model
$(B)/e2e/fs_model: $(patsubst %.c,$(B)/obj/%.o,$(wildcard tests/e2e/fs_model/*.c))
	@mkdir -p $(@D)
	$(CC) $(OPT) -o $@ $^ $(LDFLAGS)
