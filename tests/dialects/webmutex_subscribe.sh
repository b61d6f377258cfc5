#!/usr/bin/env bash
# Three callers subscribe to one mutex of webmutex; each is called in its turn, and gives the mutex
# back with the token it was posted. HOST is the server, which may call this machine.
set -euo pipefail

cat > receiver.py <<'PYTHON'
import http.server, os

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with open("part", "wb") as part:
            part.write(body)
        os.rename("part", self.path[1:])
        self.send_response(200)
        self.end_headers()

server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
with open("part", "w") as part:
    part.write(str(server.server_port))
os.rename("part", "port")
server.serve_forever()
PYTHON
python3 receiver.py & receiver=$!
trap 'kill $receiver' EXIT
await() { for _ in $(seq 300); do [ -e "$1" ] && return; sleep 0.1; done; echo "no $1"; exit 1; }
await port
here=http://127.0.0.1:$(cat port)

curl -X POST $HOST/reserve > mutex; mutex=$(jq -r .id < mutex)

curl -f -X POST $HOST/subscribe_and_grab -F "id=$mutex" -F "endpoint=$here/first" > subscribed
jq -e --arg id "$mutex" '.status == "ok" and .id == $id and (.webhook | startswith("msg_"))' subscribed
curl -f -X POST "$HOST/subscribe_and_grab/$mutex" -d "endpoint=$here/second"
curl -f -X POST "$HOST/subscribe_and_grab/$mutex/" -d "{\"endpoint\":\"$here/third\"}"

for turn in first second third; do
  await $turn
  [ "$(jq -r .status < $turn)" = ok ]
  [ "$(jq -r .id < $turn)" = "$mutex" ]
  [ "$(curl -s "$HOST/status/$mutex" | jq .in_use)" = true ]
  [ $turn = third ] || [ ! -e third ]
  token=$(jq -r .token < $turn)
  curl -f -X POST $HOST/release -F "id=$mutex" -F "token=$token"
done
[ "$(curl -s "$HOST/status/$mutex" | jq .in_use)" = false ]
