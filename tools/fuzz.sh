#!/bin/sh
# Runs each fuzz test for FUZZTIME, two at a time on a core each. EXEC is what
# test binaries are run by, such as "sudo -E"; empty runs them as they are.
set -eu
GO=${GO:-go}
# ended tells of what a failed test has said that it only ran out of time. Go
# before 1.27 can take the end of its time for a failure (golang/go#75804): then
# this stands alone, with no input, no panic and no line of a test beside it.
ended() {
	grep -q '^    context deadline exceeded$' "$1" &&
		! grep -qE 'Failing input|panic|hung or terminated|_test\.go:|^FAIL.*\[' "$1"
}
if [ "${1-}" = --one ]; then
	said=$(mktemp)
	trap 'rm -f "$said"' EXIT
	status=0
	"$GO" test ${EXEC:+-exec "$EXEC"} -run '^$' -fuzz "^$3\$" -fuzztime "$FUZZTIME" -parallel 1 "$2" >"$said" 2>&1 || status=$?
	echo "== $2 $3"
	cat "$said"
	if [ $status -ne 0 ] && ended "$said"; then
		echo "nothing was found: the time was over"
		status=0
	fi
	exit $status
fi
"$GO" list ./... | while read -r package; do
	"$GO" test -list '^Fuzz' "$package" | { grep '^Fuzz' || true; } | sed "s|^|$package |"
done | xargs -r -L 1 -P 2 "$0" --one
