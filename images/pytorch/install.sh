#!/bin/sh
# Runs as root inside a container of the base image, without a network; /mnt holds the wheels, the lock file
# and smoke.py. Owns what the image has more than the base: install.sh TORCH CUDA.
set -eu

# pip installs itself: its wheel is a program as it is.
set -- "$1" "$2" /mnt/wheels/pip-*.whl
# Debian's mark keeps pip from a system's own Python. Here there is no other use for it, and with the mark
# no user could install a package for herself.
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
PYTHONPATH=$3 python3 -m pip install --disable-pip-version-check --root-user-action=ignore --quiet \
    --no-cache-dir --no-index --no-deps --require-hashes --find-links /mnt/wheels --requirement /mnt/requirements.txt

ln -s /usr/bin/python3 /usr/local/bin/python
# /etc/profile sets PATH anew for login shells.
cat >/etc/profile.d/python.sh <<'EOF'
PATH=/workspace/.python/bin:$PATH
EOF
# What is mounted there hides it; without the platform, and without a folder, programs still find room.
chmod 1777 /workspace
mkdir -p /opt/image
cp /mnt/requirements.txt /opt/image/requirements.txt
cp -r /mnt/stand-alone.sh /mnt/examples /opt/image
# Every package, Debian's and Python's, so that two builds of the same inputs can be held against each other.
{
    dpkg-query --show --showformat 'debian ${Package}=${Version}\n'
    python3 -m pip list --format=freeze --disable-pip-version-check | sed 's/^/python /'
} | LC_ALL=C sort >/opt/image/packages.txt

# Torch's compiler asks for the account's name, and everything for a place to write.

home=$(mktemp -d)
chown 54321:54321 "$home"
cd "$home"
setpriv --reuid 54321 --regid 54321 --clear-groups env HOME="$home" USER=someone LOGNAME=someone \
    python3 -B /mnt/smoke.py "$1" "$2"
cd /
rm -rf "$home" /root/.cache /tmp/* /var/tmp/*
