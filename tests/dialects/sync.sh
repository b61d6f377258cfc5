#!/usr/bin/env bash
# The documented flow of sync: four workers take tickets of one FIFO, wait for their turns, and each
# adds one to a number that nothing but the FIFO protects. Then what goes wrong, by its status.
set -euo pipefail

status() { curl -s -o body -w '%{http_code}' "$@"; }

uuid=$(curl -sf $HOST/fifo/new | jq -r .uuid)
echo 0 > number

worker() {
  ticket=$(curl -sf $HOST/fifo/$uuid/ticket | jq -r .ticket)
  curl -sf $HOST/fifo/$uuid/wait/$ticket
  number=$(cat number)
  sleep 0.05
  echo $((number + 1)) > number
  curl -sf -X POST $HOST/fifo/$uuid/done/$ticket
}

workers=()
for i in 1 2 3 4; do
  worker &
  workers+=($!)
done
for pid in "${workers[@]}"; do
  wait "$pid"
done
[ "$(cat number)" = 4 ]

# Who is not done within the time lapses, and the next has its turn.
uuid=$(curl -sf -X POST $HOST/fifo/new -F done_timeout=1s -F wait_timeout=2h30s -F allow_overrides=true | jq -r .uuid)
first=$(curl -sf $HOST/fifo/$uuid/ticket | jq -r .ticket)
second=$(curl -sf "$HOST/fifo/$uuid/ticket?done_timeout=1.5h" | jq -r .ticket)
third=$(curl -sf $HOST/fifo/$uuid/ticket -d wait_timeout=10ms | jq -r .ticket)
[ "$(status $HOST/fifo/$uuid/wait/$first)" = 200 ]
[ ! -s body ]
[ "$(status $HOST/fifo/$uuid/wait/$second)" = 200 ]
[ "$(status $HOST/fifo/$uuid/wait/$first)" = 410 ]
[ "$(status $HOST/fifo/$uuid/wait/$third)" = 408 ]
[ "$(status $HOST/fifo/$uuid/done/$second)" = 200 ]
[ "$(status $HOST/fifo/$uuid/done/$second)" = 404 ]
[ "$(status $HOST/fifo/$uuid/wait/$third/)" = 200 ]
[ "$(status $HOST/fifo/new?wait_timeout=1M)" = 400 ]
grep -q wait_timeout body
[ "$(status $HOST/fifo/x/ticket)" = 400 ]
