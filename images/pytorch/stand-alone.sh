#!/bin/sh
# What the image does without the platform: JupyterLab on port 8888, as whoever runs it, in /workspace.
#
#     docker run --rm --gpus all -p 8888:8888 -v "$(pwd):/workspace" IMAGE
#
# It prints its address with a token. Leave `--gpus all` out where there is none; with `--user` it runs as
# somebody else, whose files then are in the folder.
set -eu
# A uid that has no account has no home either.
[ -n "${HOME:-}" ] && [ -w "$HOME" ] || { HOME=$(mktemp -d); export HOME; }
export USER="${USER:-someone}" LOGNAME="${LOGNAME:-someone}"
# In a folder that is somebody else's there is no room for caches; everything has another place by itself.
[ -w /workspace ] || unset PIP_CACHE_DIR UV_CACHE_DIR HF_HOME TORCH_HOME TORCHINDUCTOR_CACHE_DIR TRITON_CACHE_DIR
cd /workspace
exec jupyter lab --no-browser --ip=0.0.0.0 --port=8888
