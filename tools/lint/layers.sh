#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Includes point down only: tools, ctl -> client headers of fs and vmm -> base; guest -> base and itself.
set -eu
cd "$(dirname "$0")/../.."
bad=0
# rule FOLDER PATTERN: a file in FOLDER includes nothing of ours but what PATTERN allows
rule() {
	hits=$(git ls-files "$1/*.c" "$1/*.h" | xargs -r grep -HnE '^#include "' | grep -vE "#include \"($2)" || true)
	if [ -n "$hits" ]; then
		printf 'layers: %s may include only %s\n%s\n' "$1" "$2" "$hits" >&2
		bad=1
	fi
}
rule base 'base/'
rule fs 'base/|fs/'
rule fs/image/registry 'base/|fs/image/(registry/|ref\.h)'
rule vmm 'base/|vmm/|guest/wire\.h|fs/(fsd|virtq|vhost_user)\.h'
rule tools/msb 'base/|fs/image/(ref|tar)\.h|tools/msb/'
rule guest 'base/|guest/'
rule ctl 'base/|ctl/|fs/(fsd|options|du)\.h|fs/image/(image|limits|ref|open|qcow2)\.h|vmm/(vmm|agent)\.h'
exit $bad
