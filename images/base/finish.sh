#!/bin/sh
# Runs inside the build, outside the new root: $1 is the new root. Owns what packages alone do not give.
set -eu
root=$1

printf 'en_US.UTF-8 UTF-8\nzh_CN.UTF-8 UTF-8\n' >"$root/etc/locale.gen"
chroot "$root" locale-gen >/dev/null

# Nobody gains rights inside: not by a program that changes its uid, gid or capabilities.
find "$root" -xdev -type f -perm /6000 -exec chmod a-s {} +

# The places where the platform mounts things, so that a read-only root has them.
mkdir -p "$root/home" "$root/workspace" "$root/opt/gpu-gateway"
chmod 1777 "$root/tmp" "$root/var/tmp"

# Which mirror and proxy this build went through is the site's affair, and may hold its passwords.
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root"/etc/apt/sources.list.d/*
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
for line in "debian bookworm" "debian bookworm-updates" "debian-security bookworm-security"; do
    printf 'deb [signed-by=%s] http://deb.debian.org/%s main\n' "$keyring" "$line"
done >"$root/etc/apt/sources.list"

# A machine's own identity and what the build left behind do not belong into an image.
: >"$root/etc/machine-id"
rm -f "$root/etc/hostname" "$root/etc/resolv.conf" "$root/var/lib/dbus/machine-id"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/* "$root"/run/*
