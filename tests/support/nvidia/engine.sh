#!/bin/sh
# Starts or stops a private Docker engine that offers the stand-in GPUs.
#
#     tests/support/nvidia/engine.sh start DIRECTORY STAND-INS [SUBNET]     prints its DOCKER_HOST
#     tests/support/nvidia/engine.sh stop DIRECTORY                         DIRECTORY can be deleted then
#
# DIRECTORY gets its log, images and containers; STAND-INS is what build.sh made. Networks inside
# SUBNET reach what the host reaches; others reach nothing, for the engine writes no firewall rules.
set -eu

fail() { printf 'private engine: %s\n' "$*" >&2; exit 1; }
# A short name that is this directory's alone; an interface's may have 15 characters.
own_name() { printf 'dkr%s' "$(printf '%s' "$1" | cksum | cut -d ' ' -f 1)"; }
# Whether the pid is an engine's; an ended one that nobody waits for keeps its pid, without a command line.
alive() { grep -q dockerd "/proc/$1/cmdline" 2>/dev/null; }
# Whether a process has ended; between its fork and its exec it is still called as this script is.
ended() { [ -z "$(tr -d '\0' 2>/dev/null <"/proc/$1/cmdline")" ]; }
running() { [ -r "$1/pid" ] && alive "$(cat "$1/pid")"; }

# The rules that Docker itself would write for its networks, appended: rules that forbid come first.
# $1 is iptables' verb: -C asks, -A adds, -D removes.
rules() {
    iptables -w -t nat "$1" POSTROUTING -s "$2" ! -d "$2" -j MASQUERADE &&
        iptables -w "$1" FORWARD -s "$2" -j ACCEPT &&
        iptables -w "$1" FORWARD -d "$2" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
}

start() {
    directory=$1
    mkdir -p "$directory"
    directory=$(cd "$directory" && pwd)
    own=$(own_name "$directory")
    # Sockets do not lie in DIRECTORY: their paths may have 107 bytes, and some of them are long.
    socket=/run/$own/docker.sock
    # With no bridge at all an engine deletes docker0, which is the machine's own engine's.
    ip link show "$own" >/dev/null 2>&1 || ip link add "$own" type bridge
    if ! running "$directory"; then
        # No firewall rules: a second engine that writes them deletes those that keep the networks of the
        # machine's own engine apart. A containerd namespace of its own: where a system containerd runs,
        # both engines would share it, and each remove what it does not know.
        # The hook's folder comes first on PATH: that is how dockerd finds out that it can give GPUs.
        PATH="$2:$PATH" setsid dockerd --host "unix://$socket" \
            --data-root "$directory/data" --exec-root "/run/$own/exec" --pidfile "$directory/pid" \
            --bridge "$own" --iptables=false --ip6tables=false --ip-masq=false \
            --containerd-namespace "$own" --containerd-plugins-namespace "$own-plugins" \
            >"$directory/log" 2>&1 </dev/null &
        dockerd=$!
        tries=0
        until DOCKER_HOST="unix://$socket" docker version >/dev/null 2>&1; do
            tries=$((tries + 1))
            ! ended "$dockerd" && [ "$tries" -lt 150 ] || {
                tail -n 5 "$directory/log" >&2
                fail "it did not start; its whole log is $directory/log."
            }
            sleep 0.2
        done
    fi
    if [ -n "${3:-}" ] && ! rules -C "$3" 2>/dev/null; then
        rules -A "$3"
        printf '%s\n' "$3" >"$directory/subnet"
    fi
    printf 'unix://%s\n' "$socket"
}

stop() {
    directory=$1
    if running "$directory"; then
        pid=$(cat "$directory/pid")
        kill "$pid"
        tries=0
        while alive "$pid"; do
            tries=$((tries + 1))
            [ "$tries" -lt 300 ] || fail "it does not end; its log is $directory/log."
            sleep 0.2
        done
    fi
    if [ -r "$directory/subnet" ]; then
        rules -D "$(cat "$directory/subnet")" || true
        rm "$directory/subnet"
    fi
    full=$(cd "$directory" 2>/dev/null && pwd) || return 0
    own=$(own_name "$full")
    ip link delete "$own" 2>/dev/null || true
    # What a container's network and root file system were mounted on outlives an engine that was killed.
    while read -r _ mounted _; do
        case $mounted in "$full"/* | "/run/$own"/*) umount -l "$mounted" || true ;; esac
    done </proc/mounts
    rm -rf "/run/$own"
}

case "${1:-} $#" in
    "start 3" | "start 4") start "$2" "$3" "${4:-}" ;;
    "stop 2") stop "$2" ;;
    *) printf 'usage: %s start DIRECTORY STAND-INS [SUBNET] | stop DIRECTORY\n' "$0" >&2; exit 2 ;;
esac
