# SPDX-License-Identifier: Apache-2.0
# msb: sandboxes you drive with files. `make help` lists the targets.
#
# Every folder of C below becomes one static archive; a file main_NAME.c becomes build/bin/NAME and
# links what it uses. Nothing is listed by hand but the libraries each program needs.
# VARIANT=asan|tsan|clang builds the same tree beside the normal one, in build/VARIANT.

MAKEFLAGS += --no-builtin-rules
# One short line a step; V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

VERSION  := 0.1.0
PREFIX   ?= /usr/local
CC       := $(if $(filter default,$(origin CC)),gcc,$(CC))
VARIANT  ?=
B        := build$(if $(VARIANT),/$(VARIANT))

# What each folder may see; the linker order follows it, and tools/lint/layers.sh checks the includes.
DIRS     := tools/msb ctl vmm guest fs/backends fs/image fs/image/registry fs base
# guest/ is here for what both ends of the agent's channel share, and for its tests; guest/build.mk makes PID 1.
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wundef -Wvla \
            -Wimplicit-fallthrough -Wno-unused-parameter -Wno-unknown-warning-option -Wno-format-truncation -Werror
# unused parameters: a vtable's callbacks take what the table says, not what each needs.
# format truncation: what it finds depends on -O and the sanitizers; a cut that matters is checked at run time.
HARDEN   := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
OPT      := -O2 -g
LDHARDEN := -pie -Wl,-z,now,-z,relro,--as-needed,--gc-sections
ifeq ($(VARIANT),asan)
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
HARDEN   := -fPIE
endif
ifeq ($(VARIANT),tsan)
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
HARDEN   := -fPIE
endif
ifeq ($(VARIANT),fuzz)
CC       := clang
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined
HARDEN   := -fPIE
endif
ifeq ($(VARIANT),clang)
CC       := clang
endif

PKGS     := fuse3 libvirt yaml-0.1 sqlite3 libxxhash libcrypto libzstd libisal jansson libseccomp libcurl libssl
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS   := -std=gnu17 $(WARN) $(HARDEN) $(OPT) -ffunction-sections -fdata-sections \
            -D_GNU_SOURCE -DFUSE_USE_VERSION=314 -DMSB_VERSION='"$(VERSION)"' -I. $(PKG_CFLAGS) $(EXTRA_CFLAGS)
LDFLAGS  := $(LDHARDEN) -pthread

# Libraries of each program; a program not named here needs libc alone.
LIBS_msbd      := $(shell pkg-config --libs fuse3 yaml-0.1 sqlite3 jansson libseccomp 2>/dev/null)
LIBS_msb       := $(shell pkg-config --libs jansson 2>/dev/null)
LIBS_msb-vmm   := $(shell pkg-config --libs libvirt libvirt-qemu libseccomp 2>/dev/null)
LIBS_msb-image := $(shell pkg-config --libs libxxhash libcrypto libzstd libisal jansson libseccomp 2>/dev/null)
LIBS_msb-registry := $(shell pkg-config --libs libcurl libcrypto libssl jansson libseccomp 2>/dev/null)
LIBS_msb-open  := $(shell pkg-config --libs libxxhash libseccomp 2>/dev/null)
LIBS_msb-fsd   := $(shell pkg-config --libs libxxhash libseccomp jansson 2>/dev/null)
LIBS_msb-agentd := $(shell pkg-config --libs libseccomp 2>/dev/null)
LIBS_test      := $(shell pkg-config --libs $(PKGS) cmocka 2>/dev/null)

srcs      = $(sort $(shell find $(1) -maxdepth $(2) -name '*.c' 2>/dev/null))
depth     = $(if $(filter fs,$(1)),1,$(if $(filter fs/backends,$(1)),2,$(if $(filter vmm,$(1)),2,1)))
lib_srcs  = $(foreach s,$(call srcs,$(1),$(call depth,$(1))),$(if $(filter main_%,$(notdir $(s))),,$(s)))
main_srcs := $(foreach d,$(filter-out guest,$(DIRS)),$(foreach s,$(call srcs,$(d),$(call depth,$(d))),$(if $(filter main_%,$(notdir $(s))),$(s))))
ARCHIVES  := $(foreach d,$(DIRS),$(if $(call lib_srcs,$(d)),$(B)/lib/$(subst /,-,$(d)).a))
PROGS     := $(foreach s,$(main_srcs),$(B)/bin/$(patsubst main_%.c,%,$(notdir $(s))))

.PHONY: all libs guest
all: libs $(PROGS) guest
libs: $(ARCHIVES)

$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

define archive_rule
$(B)/lib/$(subst /,-,$(1)).a: $(patsubst %.c,$(B)/obj/%.o,$(call lib_srcs,$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	$(Q)$(AR) rcs $$@ $$^
endef
$(foreach d,$(DIRS),$(if $(call lib_srcs,$(d)),$(eval $(call archive_rule,$(d)))))

define prog_rule
$(B)/bin/$(patsubst main_%.c,%,$(notdir $(1))): $(B)/obj/$(1:.c=.o) $(ARCHIVES)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$(Q)$(CC) $(OPT) -o $$@ $$< $(LDFLAGS) -Wl,--start-group $(ARCHIVES) -Wl,--end-group $$(LIBS_$(patsubst main_%.c,%,$(notdir $(1))))
endef
$(foreach s,$(main_srcs),$(eval $(call prog_rule,$(s))))

# --- unit tests: tests/unit/test_NAME.c -> $(B)/test/test_NAME -------------------------------------
UNIT     := $(patsubst tests/unit/%.c,$(B)/test/%,$(wildcard tests/unit/test_*.c))
$(B)/test/%: $(B)/obj/tests/unit/%.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(OPT) -o $@ $< $(LDFLAGS) -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBS_test)
.PHONY: unit
unit: $(UNIT)

# --- fuzz targets: tests/fuzz/fuzz_NAME.c, always of VARIANT=fuzz -----------------------------------
FUZZ     := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
$(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(OPT) -fsanitize=fuzzer -o $@ $< $(LDFLAGS) -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBS_test)
.PHONY: fuzz-targets
ifeq ($(VARIANT),fuzz)
fuzz-targets: $(FUZZ)
else
fuzz-targets:
	$(Q)$(MAKE) VARIANT=fuzz $@
endif

-include guest/build.mk
-include tools/build.mk
-include tests/build.mk

.PHONY: clean
clean: ## remove what was built here (the downloaded kernel stays in build/kernel)
	find build -mindepth 1 -maxdepth 1 ! -name kernel -exec rm -rf {} + 2>/dev/null || true

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
