#!/usr/bin/env bash
# One server of Redis, fresh for each load: beside B5 tasks from a stream and from a list, 64 clients.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

load() { # KIND CLIENTS
    local port folder=$state/$1 try
    port=$(free_ports 1)
    mkdir "$folder" || fail "cannot create $folder"
    # Every write is synced before its answer, and nothing else is written: no snapshots, no rewriting of the log.
    timeout 120 redis-server --port "$port" --bind 127.0.0.1 --dir "$folder" --appendonly yes --appendfsync always \
        --auto-aof-rewrite-percentage 0 --save "" --loglevel warning >&2 &
    started+=($!)
    for try in {1..100}; do { : <"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null && break || sleep 0.05; done
    timeout 60 "$program" "$1" --clients "$2" --secs 4 --warm-up-secs 1 --size 256 --port "$port" || exit 1
    end_started
}

[[ $at == B5 ]] || fail "redis has nothing beside $at"
load stream 64
load list 64
