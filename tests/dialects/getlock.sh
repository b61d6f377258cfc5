#!/usr/bin/env bash
# A getlock job and the worker that it holds off: the worker reads `.locked` until it is false.
set -euo pipefail

uuid=$(cat /proc/sys/kernel/random/uuid)
status() { curl -s -o body -w '%{http_code}' "$@"; }

[ "$(status -X PUT "$HOST/v1/$uuid")" = 201 ]
jq -e '.locked and .lock.id == "'"$uuid"'" and .lock.ttl == 60' body
jq -e '.lock.expires - .lock.timestamp | . > 55 and . < 65' body

touch looks
worker() {
  while [ "$(curl -s "$HOST/v1/$uuid" | jq .locked)" = true ]; do
    echo locked >> looks
    sleep 0.05
  done
  echo went > worker
}
worker &

while [ "$(wc -l < looks)" -lt 3 ]; do sleep 0.05; done
[ "$(status -X PUT "$HOST/v1/$uuid?ttl=30.5")" = 200 ]
jq -e '.lock.ttl == 30.5' body
[ "$(status -X PUT "$HOST/v1/$uuid")" = 200 ]
jq -e '.lock.ttl == 30.5' body
[ "$(status "$HOST/v1/$uuid")" = 423 ]
[ ! -e worker ]

[ "$(status -X DELETE "$HOST/v1/$uuid")" = 200 ]
jq -e '.locked == false and has("lock") == false' body
wait $!
[ "$(cat worker)" = went ]
[ "$(status -X DELETE "$HOST/v1/$uuid")" = 404 ]
[ "$(status "$HOST/v1/$uuid")" = 404 ]
