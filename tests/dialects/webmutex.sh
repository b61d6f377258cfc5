#!/usr/bin/env bash
# The script that webmutex documents, word for word, in four workers at a time: each adds one to a
# number that nothing but the mutex protects. HOST is all that was changed.
set -euo pipefail

curl -X POST $HOST/reserve > mutex; mutex=$(jq -r .id < mutex)

worker() {
  mkdir "$1"
  cd "$1"
  while ! curl -f -X POST $HOST/grab -F "id=$mutex" > mymutex; do sleep 1; done
  token=$(jq -r .token < mymutex)

  number=$(cat ../number)
  curl -s $HOST/status -d "id=$mutex" | jq -e .in_use
  echo $((number + 1)) > ../number

  curl -X POST $HOST/release -F "id=$mutex" -F "token=$token"
}

echo 0 > number
workers=()
for name in a b c d; do
  (worker $name) &
  workers+=($!)
done
for worker in "${workers[@]}"; do wait "$worker"; done
[ "$(cat number)" = 4 ]
[ "$(curl -s "$HOST/status/$mutex" | jq .in_use)" = false ]
