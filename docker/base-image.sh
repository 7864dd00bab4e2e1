#!/usr/bin/env bash
# base-image.sh - makes sure that the image debian:trixie-slim is there: pulled, or, where it
# cannot be pulled, imported from a root made with mmdebstrap out of Debian's own packages.
set -euo pipefail
image=debian:trixie-slim
docker image inspect "$image" >/dev/null 2>&1 && exit 0
timeout 60 docker pull -q "$image" 2>/dev/null && exit 0
echo "base image: cannot be pulled; making it from Debian's packages" >&2
command -v mmdebstrap >/dev/null || {
    echo "base image: install mmdebstrap" >&2
    exit 1
}
# The package manager's caches stay out of the layers made on top of it.
mmdebstrap --quiet --variant=minbase --include=ca-certificates \
    --aptopt='Dir::Cache::pkgcache ""' --aptopt='Dir::Cache::srcpkgcache ""' \
    --aptopt='DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; }' \
    --mode="$([ "$(id -u)" = 0 ] && echo root || echo unshare)" trixie - |
    docker import --change 'CMD ["bash"]' - "$image" >/dev/null
