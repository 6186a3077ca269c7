# Who one is: no root, and known to getpwuid(3), without which torch and editors fail.
[ "$(id -u)" != 0 ] || { echo "programs run as root" >&2; exit 1; }
entry=$(getent passwd "$(id -u)") || { echo "getent knows no account of uid $(id -u); see /etc/nsswitch.conf" >&2; exit 1; }
shell=${entry##*:}
[ -x "$shell" ] || { echo "the login shell $shell is no program" >&2; exit 1; }
echo "uid $(id -u), $shell"
