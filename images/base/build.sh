#!/bin/sh
# Builds the base workspace image from Debian packages alone: no registry, no BuildKit.
#
#     images/base/build.sh REF            for instance gpu-gateway/base:1
#     images/base/build.sh --revision     prints the recipe's digest, which the image carries as a label
#
# Progress goes to stdout, one line a step. When it fails, the last line on stderr is one sentence
# and the exit status is not 0: 2 for a wrong call, 69 for a missing program, 1 for the rest.
#
# Environment, all optional:
#     DOCKER_HOST                         the engine that gets the image
#     GPU_GATEWAY_APT_MIRROR              a Debian mirror; updates are beside it, security at MIRROR-security
#     GPU_GATEWAY_APT_SECURITY_MIRROR     where security is, when it is elsewhere
#     GPU_GATEWAY_CA_BUNDLE               PEM file that signs https mirrors (inspected TLS)
#     http_proxy, https_proxy, no_proxy   as apt reads them; else apt's own configuration of this host
set -eu

SUITE=bookworm
HERE=$(cd "$(dirname "$0")" && pwd)

say() { printf 'base image: %s\n' "$*"; }
fail() { status=$1; shift; printf 'base image: %s\n' "$*" >&2; exit "$status"; }

[ $# -eq 1 ] || fail 2 "Say which name and version the image gets, for instance: $0 gpu-gateway/base:1"
# Two images that were made by one recipe say so, wherever the recipe was copied to.
revision=$(cat "$HERE/build.sh" "$HERE/finish.sh" "$HERE/packages" | sha256sum | cut -c1-12)
[ "$1" != --revision ] || { printf '%s\n' "$revision"; exit 0; }
REF=$1
VERSION=${REF##*:}
case $REF in *:*[!A-Za-z0-9._-]*|*:|*[!A-Za-z0-9._/:-]*) VERSION= ;; *:*) ;; *) VERSION= ;; esac
[ -n "$VERSION" ] || fail 2 "'$REF' is not NAME:VERSION; write for instance gpu-gateway/base:1."

for program in mmdebstrap docker; do
    command -v "$program" >/dev/null || fail 69 "The program '$program' is missing; install the package of that name."
done
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
    fail 1 "No Docker engine answers at ${DOCKER_HOST:-the default socket}; start it, or set DOCKER_HOST."

work=$(mktemp -d "${TMPDIR:-/tmp}/base-image.XXXXXX")
# Never into what is mounted in a half made system.
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' HUP INT TERM

# An Acquire option of this host's apt, so that a proxy which is set up for apt works here as well.
host_apt() { command -v apt-config >/dev/null && apt-config dump --format '%v' "$1" 2>/dev/null || true; }

mirror=${GPU_GATEWAY_APT_MIRROR:-http://deb.debian.org/debian}
mirror=${mirror%/}
security=${GPU_GATEWAY_APT_SECURITY_MIRROR:-$mirror-security}
# With Debian 12's own keys: the host's may be too old to hold them, as Ubuntu 22.04's are. They are in the file, for
# apt reads keys as a user who cannot look into this folder.
source() {
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By:\n' "$1" "$2"
    sed -e 's/^$/./' -e 's/^/ /' "$HERE/debian-12-keys.asc"
}
{ source "$mirror" "$SUITE $SUITE-updates"; echo; source "${security%/}" "$SUITE-security"; } >"$work/debian.sources"

: >"$work/apt.conf"
for scheme in http https; do
    eval "proxy=\${${scheme}_proxy:-}"
    [ -n "$proxy" ] || proxy=$(host_apt "Acquire::$scheme::Proxy")
    [ -z "$proxy" ] || printf 'Acquire::%s::Proxy "%s";\n' "$scheme" "$proxy" >>"$work/apt.conf"
done
if [ -n "${GPU_GATEWAY_CA_BUNDLE:-}" ]; then
    [ -r "$GPU_GATEWAY_CA_BUNDLE" ] || fail 1 "The CA bundle $GPU_GATEWAY_CA_BUNDLE cannot be read; correct GPU_GATEWAY_CA_BUNDLE."
    printf 'Acquire::https::CAInfo "%s";\n' "$GPU_GATEWAY_CA_BUNDLE" >>"$work/apt.conf"
fi
# A mirror that answers slowly is asked again; one that is not there must not hang the build for minutes.
printf 'Acquire::Retries "3";\nAcquire::http::Timeout "30";\nAcquire::https::Timeout "30";\n' >>"$work/apt.conf"

packages=$(sed -e 's/#.*//' "$HERE/packages" | tr -s ' \n' ',' | sed -e 's/^,//' -e 's/,$//')
# A mirror's address may hold a password: it is never printed.
shown=$(printf '%s' "$mirror" | sed 's#//[^/@]*@#//#')
started=$(date +%s)
say "installing Debian $SUITE from $shown"
# dpkg is told to skip what no person reads in a container; copyright files stay, as their licences ask.
# All that it makes lies in our folder, and goes with it when it is ended half-way; apt looks in as its own user.
chmod 0755 "$work"
TMPDIR=$work mmdebstrap --variant=minbase --include="$packages" \
    --aptopt="$work/apt.conf" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/locale/locale.alias' \
    --dpkgopt='path-include=/usr/share/locale/zh_CN/*' \
    --customize-hook="$HERE/finish.sh" \
    "$SUITE" "$work/root.tar" "$work/debian.sources" ||
    fail 1 "Debian's packages could not be installed from $shown; read the lines above, and set GPU_GATEWAY_APT_MIRROR or GPU_GATEWAY_CA_BUNDLE when the mirror is not reachable from here."
say "installed in $(($(date +%s) - started)) s; handing it to the engine"

# No GPU is shown unless the platform asks for it: a runtime that is set up to look at this variable
# would otherwise show them all.
docker import \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8' \
    --change 'ENV NVIDIA_VISIBLE_DEVICES=void' \
    --change 'CMD ["/bin/bash"]' \
    --change "LABEL org.opencontainers.image.title=gpu-gateway-base" \
    --change "LABEL org.opencontainers.image.version=$VERSION" \
    --change "LABEL org.opencontainers.image.revision=$revision" \
    "$work/root.tar" "$REF" >"$work/id" ||
    fail 1 "The engine did not take the image; read the line above."
say "$REF is ready after $(($(date +%s) - started)) s: $(cat "$work/id")"
