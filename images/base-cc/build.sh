#!/bin/sh
# Builds the base image with a C++ compiler and Python's headers in it, which torch.compile and many of pip's
# packages call: what images with torch are built on. The recipe is that of images/base, with more packages; its
# environment, words and exit statuses are said there.
#
#     images/base-cc/build.sh REF         for instance gpu-gateway/base-cc:1
#     images/base-cc/build.sh --revision
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/base-cc-image.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cp "$HERE"/../base/* "$work"
cat "$HERE/packages" >>"$work/packages"
"$work/build.sh" "$@"
