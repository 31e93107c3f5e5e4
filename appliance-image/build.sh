#!/usr/bin/env bash
# Makes a Debian package of the three programs, their units and a first configuration (monitor
# mode): build-release/sluice_VERSION_ARCH.deb. Its dependencies are those of the built programs.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
build=${SLUICE_BUILD_RELEASE:-build-release}
./dev release
version=$(sed -n "s/^ *version: '\(.*\)',/\1/p" meson.build | head -1)
arch=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
install -D -m 755 -t "$root/pkg/usr/sbin" "$build/dataplane/app/sluice-dataplane" "$build/control/daemon/sluiced"
install -D -m 755 -t "$root/pkg/usr/bin" "$build/control/cli/sluicectl"
install -D -m 644 -t "$root/pkg/lib/systemd/system" appliance-image/units/*.service
install -D -m 640 -t "$root/pkg/etc/sluice" appliance-image/etc/*
install -D -m 644 control/cli/sluicectl.bash-completion "$root/pkg/usr/share/bash-completion/completions/sluicectl"
install -D -m 644 -t "$root/pkg/usr/share/doc/sluice" README.md DESIGN.md LICENSE
# Not sluice-dataplane and sluicectl: strip does not know what BOLT has laid out.
strip --strip-all "$root/pkg/usr/sbin/sluiced"
mkdir -p "$root/pkg/DEBIAN" "$root/debian"
printf 'Source: sluice\nPackage: sluice\n' >"$root/debian/control"
depends=$(cd "$root" && dpkg-shlibdeps -O pkg/usr/sbin/* pkg/usr/bin/* 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
cat >"$root/pkg/DEBIAN/control" <<C
Package: sluice
Version: $version
Architecture: $arch
Maintainer: Sluice <sluice@localhost>
Depends: $depends
Section: net
Priority: optional
Description: transparent SMTP inspection appliance
 A bump in the wire: passes all traffic, inspects mail, and stops that of
 compromised hosts alone.
C
printf '/etc/sluice/dataplane.env\n/etc/sluice/sluice.json\n' >"$root/pkg/DEBIAN/conffiles"
# The groups that give a role (control/daemon/access.h); being in one is for the owner to decide.
cat >"$root/pkg/DEBIAN/postinst" <<'P'
#!/bin/sh
set -e
for group in sluice-viewer sluice-operator sluice-admin; do
  getent group "$group" >/dev/null || groupadd --system "$group"
done
P
chmod 755 "$root/pkg/DEBIAN/postinst"
out="$build/sluice_${version}_$arch.deb"
dpkg-deb --root-owner-group -b "$root/pkg" "$out" >/dev/null
dpkg-deb -I "$out" | sed -n 's/^ \(Package\|Version\|Depends\)/\1/p'
echo "$out"
