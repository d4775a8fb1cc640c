#!/usr/bin/env bash
# Workers on all nodes hash the files of a folder: each file is a task, and each task is one worker's at a time. A worker, or
# a node, may be killed meanwhile: what it had in hand is done by another one, and each result is there once.
#
#     queenright up cluster-configs/mesh-3.toml
#     node/examples/hash_files.sh ~/pictures 127.0.0.1:7201 127.0.0.1:7202 127.0.0.1:7203
#
# For other work change `attempt`. Needs bash and queenright, and the folder at the same place on all hosts; here all
# workers are started on this one. Begun again it goes on where it was.
set -euo pipefail

WORKERS=${WORKERS:-50} # on all nodes together
HASH=${HASH:-sha256sum}

# One attempt at a task: what is printed on stdout is its result.
attempt() {
    local file sum
    file=$(sed -n 's/.*"file":"\([^"]*\)".*/\1/p')
    sum=$($HASH <"$file")
    echo "\"${sum%% *}\""
}

if [ "${1:-}" = --attempt ]; then
    attempt
    exit
fi
if [ $# -lt 2 ] || [ ! -d "$1" ]; then
    echo "usage: $0 FOLDER NODE... (such as ~/pictures 127.0.0.1:7201)" >&2
    exit 2
fi
self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
folder=$(cd "$1" && pwd)
nodes=("${@:2}")
export QUEENRIGHT_NODE=${nodes[0]}

# A task a file, named like it: a second task of a name is not added.
odd=$(find "$folder" -type f -name '*[\\"]*' | head -n 1)
if [ -n "$odd" ]; then
    echo "$odd: names with quotes and backslashes are not written as JSON here" >&2
    exit 1
fi
find "$folder" -type f | while IFS= read -r file; do
    printf '{"queue": "hash", "title": "%s", "name": "%s", "payload": {"file": "%s"}}\n' \
        "${file##*/}" "${file#"$folder"/}" "$file"
done | queenright task import -

# Each has a node of its own to work for, and the others for when that does not answer.
workers=()
trap 'kill "${workers[@]}" 2>/dev/null || true' EXIT
for number in $(seq "$WORKERS"); do
    first=$((number % ${#nodes[@]}))
    doors=()
    for node in "${nodes[@]:first}" "${nodes[@]:0:first}"; do doors+=(--node "$node"); done
    env --unset=QUEENRIGHT_NODE queenright run --queue hash --name "hasher-$number" --exit-when-empty --quiet \
        "${doors[@]}" -- bash "$self" --attempt &
    workers+=($!)
done
queenright task watch --until-empty
for worker in "${workers[@]}"; do
    wait "$worker" || [ $? = 5 ] # there was nothing left for it
done
workers=()
queenright task list --queue hash | head -n 1
