# A script as editors send it to a shell: finds out where it is, starts a server, says where it listens.
# `bootstrap.sh STAY` prints a space every now and then for ever when STAY is set, as an editor's does.
echo "$ID: running"
VSC_TMP=${XDG_RUNTIME_DIR:-/tmp}
mkdir -p "$HOME/.editor-$ID" && chmod 700 "$HOME/.editor-$ID"
cd "$HOME/.editor-$ID" || exit 206
uname -s; uname -m >/dev/null; getconf LONG_BIT; test -r /etc/os-release && echo os-release
echo $$ >pid
exec 9>"$HOME/.editor-$ID/lock"
flock -x -w 30 9 && echo locked
cat >server.py <<'PY'
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"version 1.2.3")
    def log_message(self, *words): pass
if sys.argv[1].startswith("/"):
    import socketserver
    class Unix(socketserver.UnixStreamServer):
        def get_request(self):
            peer, _ = super().get_request()
            return peer, ("local", 0)
    server = Unix(sys.argv[1], Handler)
    print("Listening on", sys.argv[1], flush=True)
else:
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    print("Listening on", server.server_port, flush=True)
while os.path.exists("lock"):
    server.timeout = 0.5
    server.handle_request()
PY
python3 server.py "${SOCKET:-0}" >log 2>&1 </dev/null &
n=0
until grep -qs '^Listening on' log || [ $n = 300 ]; do n=$((n + 1)); sleep 0.03; done
echo "$ID: start"
echo "listeningOn==$(sed -n 's/^Listening on //p' log)=="
echo "osReleaseId==$(. /etc/os-release; echo $ID_LIKE$NAME)=="
echo "SSH_AUTH_SOCK==${SSH_AUTH_SOCK:+set}=="
echo "DISPLAY==$DISPLAY=="
echo "$ID: end"
if [ -n "${STAY:-}" ]; then while true; do sleep 0.5; printf ' '; done; fi
exit 0
