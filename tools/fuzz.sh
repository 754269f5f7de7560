#!/bin/sh
# Runs each fuzz test for FUZZTIME, two at a time on a core each. EXEC is what
# test binaries are run by, such as "sudo -E"; empty runs them as they are.
set -eu
GO=${GO:-go}
if [ "${1-}" = --one ]; then
	echo "== $2 $3"
	exec "$GO" test ${EXEC:+-exec "$EXEC"} -run '^$' -fuzz "^$3\$" -fuzztime "$FUZZTIME" -parallel 1 "$2"
fi
"$GO" list ./... | while read -r package; do
	"$GO" test -list '^Fuzz' "$package" | { grep '^Fuzz' || true; } | sed "s|^|$package |"
done | xargs -r -L 1 -P 2 "$0" --one
