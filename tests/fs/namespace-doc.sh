#!/bin/bash
# timeout: 120
# docs/NAMESPACE.md is the reference of the mount: every command in it does what it says there.
. "$(dirname "$0")/../lib/cases.sh"

need python3
start_piauth
python3 -S -E "$CASES/run_doc.py" "$TOP/docs/NAMESPACE.md" "$MNT" >"$T/doc.tap" 2>&1 ||
	note "run_doc.py: exit $?"
while IFS= read -r line; do
	case $line in
	'ok '*) passed "${line#ok * - }" ;;
	'not ok '*) failed "${line#not ok * - }" ;;
	'1..'*) planned=${line#1..} ;;
	'#'*) printf '%s\n' "$line" ;;
	*) failed "run_doc.py says: $line" ;;
	esac
done <"$T/doc.tap"
is "every command of the document was run" "$CHECKS" "${planned:-none}"
