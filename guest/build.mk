# SPDX-License-Identifier: Apache-2.0
# PID 1 of the guests: static, against musl, so that the initramfs holds one small file.
GUEST_CC     := musl-gcc
GUEST_SRCS   := $(wildcard guest/*.c) base/err.c base/io.c base/rlimits.c base/str.c
GUEST_OBJS   := $(GUEST_SRCS:%.c=build/guest/obj/%.o)
GUEST_CFLAGS := -std=gnu17 $(WARN) -O2 -g -fstack-protector-strong -fno-asynchronous-unwind-tables \
                -ffunction-sections -fdata-sections -D_GNU_SOURCE -I.

guest: build/guest/init
build/guest/init: $(GUEST_OBJS)
	$(call say,LD,$@)
	$(Q)$(GUEST_CC) -static -s -o $@ $^ -Wl,-z,now,-z,relro,--gc-sections,-z,noexecstack

build/guest/obj/%.o: %.c Makefile guest/build.mk
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(GUEST_CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

-include $(shell find build/guest/obj -name '*.d' 2>/dev/null)
