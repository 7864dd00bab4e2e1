#!/usr/bin/env bash
# layers.sh - includes go downward only, and third-party types stay where they belong.
set -euo pipefail
cd "$(dirname "$0")/../.."
bad=0

# forbid WHERE PATTERN WHY: no file below WHERE may have an include that matches.
forbid() {
    local found
    # shellcheck disable=SC2086 # a list of folders
    found=$(grep -rnE --include='*.[ch]' "^#include [\"<]($2)" $1 || true)
    if [ -n "$found" ]; then
        printf '%s\n%s\n' "$3:" "$found"
        bad=1
    fi
}

forbid common/base 'common/(msg|net)/|services/' "base includes upward"
forbid common/msg 'common/net/|services/' "msg includes upward"
forbid common/net 'services/' "net includes upward"
for service in services/*/; do
    name=$(basename "$service")
    others=$(find services -mindepth 1 -maxdepth 1 -type d ! -name "$name" -printf '%f|' | sed 's/|$//')
    forbid "$service" "services/($others)/" "$name includes another service"
done
forbid "common/base common/msg services" 'zmq' "ZeroMQ outside common/net"
forbid "common/base common/net services" 'msgpack' "msgpack outside common/msg"
forbid "common services/gateway services/worker services/trainer services/health" 'hiredis/' \
    "hiredis outside the registry"
found=$(grep -rlE 'onnxruntime_c_api\.h' --include='*.[ch]' common services |
    grep -v '^services/worker/runtime_onnx\.c$' || true)
[ -z "$found" ] || { printf 'ONNX Runtime outside runtime_onnx.c:\n%s\n' "$found"; bad=1; }
found=$(grep -nE '^#include <(zmq|uv|msgpack|uthash|openssl|yyjson|hiredis)' common/*/*.h || true)
[ -z "$found" ] || { printf 'third-party types in a header of common/:\n%s\n' "$found"; bad=1; }
[ "$bad" = 0 ] && echo "layers: ok"
exit "$bad"
