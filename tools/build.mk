# SPDX-License-Identifier: Apache-2.0
# Dependencies, the kernel, the demo, benches.

.PHONY: deps demo bench
deps: ## install the packages that building and running need; says what it adds to apt
	tools/deps.sh

demo: ## a sandbox from nothing, each file operation shown; KEEP=1 leaves it running
	tools/deps.sh
	$(MAKE) -j$$(nproc) all
	tools/demo $(if $(KEEP),--keep)

bench: ## benches, JSON Lines on stdout
	$(MAKE) -j$$(nproc) all bench-build
	@for b in tools/bench/*; do if [ -x $$b ]; then $$b || exit 1; fi; done

# Programs that benches drive; nothing else needs them.
bench_objs = $(patsubst %,$(B)/obj/tools/bench/%.o,$(1))
.PHONY: bench-build
bench-build: $(B)/bench/vufs $(B)/bench/serve $(B)/bench/wrapped $(B)/bench/guest_init $(B)/bench/loop $(B)/bench/floor $(B)/e2e/fsmount
check-build: bench-build

$(B)/bench/vufs: $(call bench_objs,vufs client ops ring server) $(ARCHIVES)
$(B)/bench/serve: $(call bench_objs,serve server) $(ARCHIVES)
LIBS_wrapped = $(LIBS_msb-fsd)
$(B)/bench/wrapped: $(call bench_objs,wrapped) $(ARCHIVES)
$(B)/bench/loop: $(call bench_objs,loop)
$(B)/bench/floor: $(call bench_objs,floor)
$(B)/bench/vufs $(B)/bench/serve $(B)/bench/wrapped $(B)/bench/loop $(B)/bench/floor:
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(OPT) -o $@ $(filter %.o,$^) $(LDFLAGS) -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBS_$(@F))

$(B)/bench/guest_init: tools/bench/guest_init.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 $(WARN) -D_GNU_SOURCE -O2 -static -o $@ $<

# The machine's side: a kernel, and PID 1 with the modules that it loads.
SHARE := build/share/msb

# A machine needs them as much as the programs; a variant uses those of the normal build.
ifeq ($(VARIANT),)
all: kernel-debian $(SHARE)/libfuse-plugin.so $(B)/plugins/flat
endif

# What makes a libfuse program a plugin.
$(SHARE)/libfuse-plugin.so: tools/plugins/libfuse_shim.c tools/plugins/msb_plugin.h Makefile
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) -fPIC -shared -o $@ $< $(shell pkg-config --libs fuse3) -pthread

# The example in C, built as its first lines say.
$(B)/plugins/flat: tools/plugins/flat.c tools/plugins/msb_plugin.h Makefile
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -std=gnu17 $(WARN) -O2 -D_GNU_SOURCE -o $@ $< -pthread

.PHONY: kernel-debian
kernel-debian: $(SHARE)/vmlinux $(SHARE)/vmlinuz $(SHARE)/initramfs $(SHARE)/initramfs-disk ## Debian's cloud kernel, unpacked, and the initramfs

build/kernel/debian/version: tools/kernel-debian
	tools/kernel-debian build/kernel build/kernel/debian
	@touch $@

$(SHARE)/vmlinux $(SHARE)/vmlinuz: $(SHARE)/%: build/kernel/debian/version
	@mkdir -p $(@D)
	ln -f build/kernel/debian/$* $@
	@touch $@

$(SHARE)/initramfs: build/guest/init build/kernel/debian/version tools/initramfs
	@mkdir -p $(@D)
	tools/initramfs build/guest/init build/kernel/debian/modules $@

# The same for a root on a disk, and for memory that changes, apart: what it holds more is time that no other start has to spend.
$(SHARE)/initramfs-disk: build/guest/init build/kernel/debian/version tools/initramfs
	@mkdir -p $(@D)
	tools/initramfs build/guest/init build/kernel/debian/modules $@ build/kernel/debian/lazy

.PHONY: kernel
kernel: ## build the small kernel too (6-10 min); MSB_KERNEL=mini selects it
	tools/deps.sh run kernel
	$(MAKE) $(SHARE)/vmlinux-mini

$(SHARE)/vmlinux-mini: guest/kernel/config tools/kernel-mini
	@mkdir -p $(@D)
	tools/kernel-mini build/kernel $@

include tools/packaging/install.mk
