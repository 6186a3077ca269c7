#!/bin/sh
# Builds the stand-ins: the NVML library, nvidia-smi and the container hook, beside a state file.
#
#     tests/support/nvidia/build.sh DIRECTORY [GPUS]
#
# With GPUS it writes DIRECTORY/state with that many GPUs of 80 GiB; else it leaves the state alone.
# Put DIRECTORY on dockerd's PATH before it starts, and into LD_LIBRARY_PATH of programs that ask NVML.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
to=$1
gpus=${2:-}

mkdir -p "$to"
# Shown inside containers, to any uid.
chmod 0755 "$to"
cc -O2 -Wall -Wextra -fPIC -shared -fvisibility=hidden -Wl,-soname,libnvidia-ml.so.1 \
    -o "$to/libnvidia-ml.so.1.new" "$here/libnvidia-ml.c"
# Renamed into place: a program that has the old one mapped must not see it change.
mv "$to/libnvidia-ml.so.1.new" "$to/libnvidia-ml.so.1"
cc -O2 -Wall -Wextra -o "$to/nvidia-smi.new" "$here/nvidia-smi.c" "$to/libnvidia-ml.so.1" \
    -Wl,-rpath,'$ORIGIN'
mv "$to/nvidia-smi.new" "$to/nvidia-smi"
cp "$here/nvidia-container-runtime-hook" "$to/nvidia-container-runtime-hook.new"
mv "$to/nvidia-container-runtime-hook.new" "$to/nvidia-container-runtime-hook"

[ -z "$gpus" ] || PYTHONPATH="$here" python3 -B -c '
import sys, state
state.write(state.Path(sys.argv[1]) / "state", state.gpus(int(sys.argv[2])))' "$to" "$gpus"
