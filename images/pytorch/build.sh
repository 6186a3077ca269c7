#!/bin/sh
# Builds the PyTorch workspace image: the base image and the wheels of one lock file, nothing else.
#
#     images/pytorch/build.sh REF         for instance gpu-gateway/pytorch:2.13.0-cpu, a version of versions.toml
#
# The wheels are fetched by this machine's own pip, hence with its configuration, proxies and certificates,
# and each is checked against the lock file. They are installed in a container without a network, so that
# nothing of the site gets into the image. Needs up to twice the wheels' size in TMPDIR (docs/images.md).
#
# Progress goes to stdout, one line a step. When it fails, the last line on stderr is one sentence
# and the exit status is not 0: 2 for a wrong call, 69 for a missing program, 1 for the rest.
#
# Environment:
#     GPU_GATEWAY_BASE_IMAGE              the base image that it is built on
#     DOCKER_HOST                         the engine that holds the base image and gets this one
#     GPU_GATEWAY_PYTHON                  a Python from 3.11 on, with pip (default: python3)
#     GPU_GATEWAY_PIP_INDEX_URL           the index to use in place of pip's own
#     GPU_GATEWAY_PIP_EXTRA_INDEX_URL     one index more, for instance one that has torch without CUDA
#     GPU_GATEWAY_PIP_FIND_LINKS          a folder that holds wheels
#     GPU_GATEWAY_CA_BUNDLE               PEM file that signs https indexes (inspected TLS)
#     TMPDIR                              where wheels are kept meanwhile (default: /var/tmp)
#     http_proxy, https_proxy, no_proxy, PIP_*   as pip reads them
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
PYTHON=${GPU_GATEWAY_PYTHON:-python3}

say() { printf 'pytorch image: %s\n' "$*"; }
fail() { status=$1; shift; printf 'pytorch image: %s\n' "$*" >&2; exit "$status"; }

[ $# -eq 1 ] || fail 2 "Say which name and version the image gets, for instance: $0 gpu-gateway/pytorch:2.13.0-cpu"
REF=$1
BASE=${GPU_GATEWAY_BASE_IMAGE:-}
[ -n "$BASE" ] || fail 2 "Say in GPU_GATEWAY_BASE_IMAGE which base image it is built on."
command -v docker >/dev/null || fail 69 "The program 'docker' is missing; install the package docker.io."
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && "$PYTHON" -m pip --version >/dev/null 2>&1 ||
    fail 69 "$PYTHON is not a Python from 3.11 on with pip; name one in GPU_GATEWAY_PYTHON."

# The version's facts as shell variables.
facts=$("$PYTHON" - "$HERE/versions.toml" "${REF##*:}" <<'EOF'
import shlex, sys, tomllib
from pathlib import Path

facts = tomllib.loads(Path(sys.argv[1]).read_text()).get(sys.argv[2])
if facts is None:
    sys.exit(1)
for name in ("flavour", "torch", "python", "cuda", "cudnn", "nccl", "min_driver", "arches", "lock"):
    value = facts.get(name, "")
    print(f"{name}={shlex.quote(value if isinstance(value, str) else ' '.join(value))}")
EOF
) || fail 2 "'$REF' does not end in a version of $HERE/versions.toml; write for instance gpu-gateway/pytorch:2.13.0-cpu."
eval "$facts"
# shellcheck disable=SC2154  # set by the line above
revision=$(cat "$HERE/build.sh" "$HERE/install.sh" "$HERE/smoke.py" "$HERE/stand-alone.sh" "$HERE/$lock" | sha256sum | cut -c1-12)

docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
    fail 1 "No Docker engine answers at ${DOCKER_HOST:-the default socket}; start it, or set DOCKER_HOST."
base_id=$(docker image inspect --format '{{.Id}}' "$BASE" 2>/dev/null) ||
    fail 1 "The engine has no image $BASE; build it with: gpuadmin image build base"
[ -z "${GPU_GATEWAY_CA_BUNDLE:-}" ] || [ -r "$GPU_GATEWAY_CA_BUNDLE" ] ||
    fail 1 "The CA bundle $GPU_GATEWAY_CA_BUNDLE cannot be read; correct GPU_GATEWAY_CA_BUNDLE."

TMPDIR=${TMPDIR:-/var/tmp}
work=$(mktemp -d "$TMPDIR/pytorch-image.XXXXXX") || fail 1 "Nothing can be written in $TMPDIR; name another folder in TMPDIR."
container=gpu-gateway-build-${work##*.}
child=
tidy() {
    trap '' HUP INT TERM
    [ -z "$child" ] || kill "$child" 2>/dev/null || true
    docker rm -f -v "$container" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap tidy EXIT
trap 'exit 1' HUP INT TERM

# Runs a program so that a signal is heard at once, not when the program has ended; its output is kept.
attended() {
    : >"$work/out"
    "$@" >"$work/out" 2>&1 &
    child=$!
    tail -n +1 -f --pid="$child" "$work/out" &
    shown=$!
    status=0
    wait "$child" || status=$?
    child=
    wait "$shown" || true
    return "$status"
}

disk_full() { grep -qiE 'no space left|disk quota exceeded' "$work/out"; }

mkdir "$work/in" "$work/in/wheels" "$work/pip"
cp "$HERE/install.sh" "$HERE/smoke.py" "$HERE/stand-alone.sh" "$work/in"
cp "$HERE/$lock" "$work/in/requirements.txt"
mkdir "$work/in/examples"
[ ! -d "$HERE/../examples" ] || cp "$HERE"/../examples/*.py "$work/in/examples"

machine=$(uname -m)
set --
for glibc in 2_28 2_27 2_26 2_25 2_24 2_17 2_12 2_5; do set -- "$@" --platform "manylinux_${glibc}_$machine"; done
for older in manylinux2014 manylinux2010 manylinux1; do set -- "$@" --platform "${older}_$machine"; done
[ -z "${GPU_GATEWAY_PIP_INDEX_URL:-}" ] || set -- "$@" --index-url "$GPU_GATEWAY_PIP_INDEX_URL"
[ -z "${GPU_GATEWAY_PIP_EXTRA_INDEX_URL:-}" ] || set -- "$@" --extra-index-url "$GPU_GATEWAY_PIP_EXTRA_INDEX_URL"
# Without TLS pip takes nothing from an index unless told to; here every wheel's hash is known beforehand.
for url in "${GPU_GATEWAY_PIP_INDEX_URL:-}" "${GPU_GATEWAY_PIP_EXTRA_INDEX_URL:-}"; do
    host=${url#http://}
    [ "$host" = "$url" ] || { host=${host%%/*}; set -- "$@" --trusted-host "${host##*@}"; }
done
[ -z "${GPU_GATEWAY_PIP_FIND_LINKS:-}" ] || set -- "$@" --find-links "$GPU_GATEWAY_PIP_FIND_LINKS"
[ -z "${GPU_GATEWAY_CA_BUNDLE:-}" ] || set -- "$@" --cert "$GPU_GATEWAY_CA_BUNDLE"

started=$(date +%s)
say "fetching the wheels of $lock"
# shellcheck disable=SC2154
TMPDIR=$work/pip attended "$PYTHON" -m pip download --disable-pip-version-check --no-input --progress-bar off --no-cache-dir \
    --require-hashes --no-deps --only-binary=:all: --implementation cp --python-version "$python" "$@" \
    --dest "$work/in/wheels" --requirement "$work/in/requirements.txt" || {
    ! disk_full || fail 1 "The disk of $TMPDIR is full; make room there, or name a folder on a larger disk in TMPDIR."
    ! grep -q 'DO NOT MATCH THE HASHES' "$work/out" || fail 1 "A wheel is not the one that $lock names; read the lines above, and ask whoever runs the index."
    fail 1 "The wheels of $lock could not be fetched; read the lines above, and name an index that has them with --index-url or GPU_GATEWAY_PIP_INDEX_URL, or a folder with --find-links."
}
rm -rf "$work/pip"
say "fetched $(du -sm "$work/in/wheels" | cut -f1) MB in $(($(date +%s) - started)) s; installing them"

docker create --name "$container" --network none --user 0:0 --workdir / \
    --mount "type=bind,source=$work/in,target=/mnt,readonly" \
    "$BASE" /bin/sh /mnt/install.sh "$torch" "$cuda" >"$work/out" 2>&1 ||
    { cat "$work/out" >&2; fail 1 "The engine made no container of $BASE; read the line above."; }
attended docker start --attach "$container" || {
    ! disk_full || fail 1 "The disk of the Docker engine is full; make room there, for instance with: docker image prune"
    fail 1 "The wheels could not be installed; read the lines above."
}

docker cp "$container:/opt/image/packages.txt" "$work/packages.txt" >"$work/out" 2>&1 ||
    { cat "$work/out" >&2; fail 1 "The list of packages could not be read; read the line above."; }
packages=$(sha256sum "$work/packages.txt" | cut -c1-12)

say "installed after $(($(date +%s) - started)) s; handing it to the engine"
# The user's own packages come first: pip puts them there because the image itself is read-only to her.
# shellcheck disable=SC2154
attended docker commit \
    --change 'ENV PYTHONUSERBASE=/workspace/.python' \
    --change 'ENV PATH=/workspace/.python/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV PIP_CACHE_DIR=/workspace/.cache/pip UV_CACHE_DIR=/workspace/.cache/uv' \
    --change 'ENV HF_HOME=/workspace/.cache/huggingface TORCH_HOME=/workspace/.cache/torch' \
    --change 'ENV TORCHINDUCTOR_CACHE_DIR=/workspace/.cache/inductor TRITON_CACHE_DIR=/workspace/.cache/triton' \
    --change 'CMD ["/opt/image/stand-alone.sh"]' --change 'USER 1000:1000' \
    --change "LABEL org.opencontainers.image.title=gpu-gateway-pytorch" \
    --change "LABEL org.opencontainers.image.version=${REF##*:}" \
    --change "LABEL org.opencontainers.image.revision=$revision" \
    --change "LABEL org.opencontainers.image.base.name=$BASE" \
    --change "LABEL org.opencontainers.image.base.digest=$base_id" \
    --change "LABEL io.gpu-gateway.flavour=$flavour" \
    --change "LABEL io.gpu-gateway.torch=$torch" \
    --change "LABEL io.gpu-gateway.python=$python" \
    --change "LABEL io.gpu-gateway.cuda=$cuda" \
    --change "LABEL io.gpu-gateway.cudnn=$cudnn" \
    --change "LABEL io.gpu-gateway.nccl=$nccl" \
    --change "LABEL io.gpu-gateway.packages=$packages" \
    --change "LABEL io.gpu-gateway.min-driver=$min_driver" \
    --change "LABEL io.gpu-gateway.arches=\"$arches\"" \
    "$container" "$REF" || {
    ! disk_full || fail 1 "The disk of the Docker engine is full; make room there, for instance with: docker image prune"
    fail 1 "The engine did not take the image; read the lines above."
}
size=$(docker image inspect --format '{{.Size}}' "$REF")
say "$REF is ready after $(($(date +%s) - started)) s: $((size / 1000000)) MB"
