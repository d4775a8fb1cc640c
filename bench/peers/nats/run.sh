#!/usr/bin/env bash
# Nodes of NATS, fresh for each load: three with JetStream beside B3 (puts of 1 client and of 64) and beside B5 (a work queue,
# 64 clients); two beside B13 (messages from one to the other).
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

load() { # NODES OP CLIENTS [FLAG VALUE]...
    local nodes=$1 ports folder=$state/$2-$3 routes="" node jetstream="" try
    read -ra ports <<<"$(free_ports $((nodes * 2)))"
    mkdir "$folder" || fail "cannot create $folder"
    for ((node = 0; node < nodes; node++)); do routes+="${routes:+, }nats://127.0.0.1:${ports[node + nodes]}"; done
    for ((node = 0; node < nodes; node++)); do
        [[ $nodes == 3 ]] && jetstream="jetstream { store_dir: \"$folder/n$node\" }"
        cat >"$folder/n$node.conf" <<CONF
server_name: n$node
listen: 127.0.0.1:${ports[node]}
$jetstream
cluster { name: peers, listen: 127.0.0.1:${ports[node + nodes]}, routes: [$routes] }
CONF
        timeout 120 nats-server -c "$folder/n$node.conf" -l "$folder/n$node.log" >&2 &
        started+=($!)
    done
    for ((node = 0; node < nodes; node++)); do
        for try in {1..100}; do { : <"/dev/tcp/127.0.0.1/${ports[node]}"; } 2>/dev/null && break || sleep 0.05; done
    done
    timeout 90 "$program" "$2" --clients "$3" --secs 4 --warm-up-secs 1 \
        --ports "$(IFS=,; echo "${ports[*]:0:nodes}")" "${@:4}" || exit 1
    end_started
}

case $at in
B3)
    load 3 put 1 --size 256
    load 3 put 64 --size 256
    ;;
B5) load 3 tasks 64 --size 256 --count 60000 ;;
B13)
    load 2 oneway 1 --size 128 --count 1000000
    load 2 oneway 8 --size 128 --count 1000000
    load 2 request 1 --size 128
    load 2 request 100 --size 128
    ;;
*) fail "nats has nothing beside $at" ;;
esac
