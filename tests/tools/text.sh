#!/usr/bin/env bash
# text.sh - what must not be in the tree: paths of a machine, unfinished words, sleeping tests,
# calls that the house does not use, files that are too long.
set -euo pipefail
cd "$(dirname "$0")/../.."
bad=0

refuse() { # WHY, then lines on stdin
    local lines
    lines=$(cat)
    if [ -n "$lines" ]; then
        printf '%s:\n%s\n' "$1" "$lines"
        bad=1
    fi
}

tracked() { git ls-files --cached --others --exclude-standard -- "$@" | grep -v '^tests/tools/text.sh$'; }

[ -n "$(tracked README.md)" ] || { echo "text: git lists no files here"; exit 1; }
refuse "paths of a machine" < <(tracked | xargs -r grep -nE '/wor[k]/|/tmp/bash_job[s]' -- 2>/dev/null)
refuse "unfinished work" < <(tracked '*.c' '*.h' '*.py' '*.sh' Makefile |
    xargs -r grep -nEi '\b(todo|fixme|xxx)\b|not implemented' --)
refuse "sleeps in tests" < <(tracked 'tests/*' |
    xargs -r grep -nE 'time\.sleep|usleep|nanosleep|\bsleep\(' --)
refuse "calls that the house does not use" < <(tracked 'common/*.[ch]' 'services/*.[ch]' |
    xargs -r grep -nE '\b(strcpy|strcat|sprintf|gets|atoi|atof|strtok)\(' --)
refuse "files over 500 lines" < <(tracked 'common/*.[ch]' 'services/*.[ch]' |
    xargs -r wc -l | awk '$2 != "total" && $1 > 500')
[ "$bad" = 0 ] && echo "text: ok"
exit "$bad"
