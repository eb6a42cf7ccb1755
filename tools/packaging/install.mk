# SPDX-License-Identifier: Apache-2.0
# Installation: one list of files, from which come install, uninstall and the Debian package.

STRIP    ?= strip
bindir   := $(PREFIX)/bin
# Programs for people; the others are started by msbd.
FACES    := msb msbd

# Manual pages lie beside what they describe; msb(1) and those of its commands are what the program says of itself.
MAN_SRCS := $(wildcard fs/backends/*.scd ctl/*.scd tools/plugins/*.scd)
MAN_CMDS := $(patsubst %,build/man/msb-%.1,$(shell sed -n 's/.*CLI_COMMAND."\([a-z-]*\)".*/\1/p' tools/msb/*.c))
MAN      := $(patsubst %.scd,build/man/%,$(notdir $(MAN_SRCS))) build/man/msb.1 $(MAN_CMDS)
.PHONY: man
man: $(MAN) ## the manual pages, in build/man

vpath %.scd $(sort $(dir $(MAN_SRCS)))
build/man/%: %.scd
	@mkdir -p $(@D)
	$(Q)scdoc <$< >$@

build/man/msb.1: tools/msb/msb.1.sh $(B)/bin/msb
	@mkdir -p $(@D)
	$(Q)$< $(B)/bin/msb | scdoc >$@

$(MAN_CMDS): build/man/msb-%.1: $(B)/bin/msb
	@mkdir -p $(@D)
	$(Q)$< __page $* | scdoc >$@

# What makes shells complete msb is what it prints itself.
COMPLETIONS := build/completions/bash build/completions/zsh build/completions/fish
.PHONY: completions
completions: $(COMPLETIONS)
$(COMPLETIONS): build/completions/%: $(B)/bin/msb
	@mkdir -p $(@D)
	$(Q)$< completion $* >$@
# Where Debian's zsh looks, below /usr and elsewhere.
zshdir = share/zsh/$(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)

# Units name the program by where it will be.
.PHONY: units
units: $(patsubst %,build/units/%.service,msbd msbd-user msb-machines)
build/units/%: tools/packaging/%.in always
	@mkdir -p $(@D)
	$(Q)sed 's|@bindir@|$(bindir)|' $< >$@
.PHONY: always

# HOW:FROM:TO, a word a file; TO is below PREFIX. HOW is a mode, or `program`: 0755, and stripped.
INSTALLED = \
	$(foreach p,$(PROGS),program:$(p):$(if $(filter $(FACES),$(notdir $(p))),bin,libexec/msb)/$(notdir $(p))) \
	0755:tools/plugins/msb-libfuse:bin/msb-libfuse \
	program:$(SHARE)/libfuse-plugin.so:libexec/msb/libfuse-plugin.so \
	0644:tools/plugins/msb_plugin.h:include/msb_plugin.h \
	0755:tools/plugins/deny-pattern:share/msb/plugins/deny-pattern \
	0755:tools/plugins/generated-file:share/msb/plugins/generated-file \
	0644:tools/plugins/flat.c:share/msb/plugins/flat.c \
	$(foreach f,$(GUEST_FILES),0644:$(f):share/msb/$(notdir $(f))) \
	$(foreach f,$(MAN),0644:$(f):share/man/man$(subst .,,$(suffix $(f)))/$(notdir $(f))) \
	$(foreach f,LICENSE README.md NEWS.md SECURITY.md mnt-layout.md,0644:$(f):share/doc/msb/$(f)) \
	0644:build/completions/bash:share/bash-completion/completions/msb \
	0644:build/completions/zsh:$(zshdir)/_msb \
	0644:build/completions/fish:share/fish/vendor_completions.d/msb.fish \
	0644:build/units/msbd.service:lib/systemd/system/msbd.service \
	0644:build/units/msb-machines.service:lib/systemd/system/msb-machines.service \
	0644:build/units/msbd-user.service:lib/systemd/user/msbd.service \
	0644:build/units/msb-machines.service:lib/systemd/user/msb-machines.service
# The kernel of `make kernel` goes along where it was built.
GUEST_FILES = $(addprefix $(SHARE)/,vmlinux vmlinuz initramfs initramfs-disk) $(wildcard $(SHARE)/vmlinux-mini)
# Directories that are nobody else's; the rest may hold other people's files.
INSTALLED_DIRS := libexec/msb share/msb/plugins share/msb share/doc/msb

how  = $(word 1,$(subst :, ,$(1)))
from = $(word 2,$(subst :, ,$(1)))
to   = $(DESTDIR)$(PREFIX)/$(word 3,$(subst :, ,$(1)))

define newline


endef
install_file = $(Q)install -D $(if $(filter program,$(call how,$(1))),-m 0755 $(if $(STRIP),-s --strip-program='$(STRIP)'),-m $(call how,$(1))) \
	$(call from,$(1)) '$(call to,$(1))'$(newline)

.PHONY: install uninstall
install: all man units completions ## into $(DESTDIR)$(PREFIX), programs stripped (STRIP= leaves them as they are)
	$(foreach f,$(INSTALLED),$(call install_file,$(f)))
	@echo "installed below $(DESTDIR)$(PREFIX); msbd(8) says how to have it started by systemd"

uninstall: ## what install has put there, with the same DESTDIR and PREFIX
	$(foreach f,$(INSTALLED),$(Q)rm -f '$(call to,$(f))'$(newline))
	$(foreach d,$(INSTALLED_DIRS),$(Q)rmdir '$(DESTDIR)$(PREFIX)/$(d)' 2>/dev/null || true$(newline))

.PHONY: deb
deb: ## a Debian package, in build/deb, for the release of Debian it is made on
	tools/deps.sh deb
	$(MAKE) -j$$(nproc) all man completions
	rm -rf build/deb
	$(MAKE) -s install DESTDIR=build/deb/tree PREFIX=/usr
	tools/packaging/deb build/deb/tree build/deb $(VERSION)

.PHONY: deb-check
deb-check: deb ## the package on a Debian with nothing in it: as root, minutes, fetches all of it
	lintian --fail-on error,warning build/deb/msb_*.deb
	tools/mkimage busybox build/images/busybox
	tools/deb-check build/deb/msb_*.deb build/images/busybox
