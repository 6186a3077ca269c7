# What editors over SSH, copies and forwards call in a workspace.
missing=
for program in awk base64 bash cat chmod cp curl cut date dirname find flock getconf getent grep gunzip gzip \
    head id kill ln ls mkdir mv nohup ps python3 readlink rm scp sed sh sleep sort stty tail tar touch tr uname \
    wc xargs xauth; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
ls /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server /usr/lib/ssh/sftp-server 2>/dev/null | grep -q . ||
    missing="$missing sftp-server"
ls /usr/lib/*/libstdc++.so.6 /usr/lib*/libstdc++.so.6 2>/dev/null | grep -q . || missing="$missing libstdc++.so.6"
[ -s /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
[ -z "$missing" ] || { echo "missing:$missing" >&2; exit 1; }
libc=$(getconf GNU_LIBC_VERSION) || { echo "its C library is not glibc, which editors' servers need" >&2; exit 1; }
newest=$(printf '%s\n' 2.28 "${libc#glibc }" | sort -V | tail -n 1)
[ "$newest" = "${libc#glibc }" ] || { echo "$libc is older than editors' servers need, 2.28" >&2; exit 1; }
echo "all there, $libc"
