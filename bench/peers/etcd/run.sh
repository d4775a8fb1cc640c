#!/usr/bin/env bash
# Three nodes of etcd, fresh for each load: beside B3 puts of 1 client and of 64, beside B5 claims of 64.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

healthy() { # PORT...: waits until all nodes serve
    python3 - "$@" <<'PYTHON'
import json, sys, time, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
end = time.monotonic() + 30
for port in sys.argv[1:]:
    while True:
        try:
            with opener.open(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                if json.load(answer).get("health") == "true":
                    break
        except (OSError, ValueError):
            pass
        if time.monotonic() > end:
            sys.exit(f"etcd at {port} is not healthy")
        time.sleep(0.05)
PYTHON
}

load() { # OP CLIENTS
    local ports folder=$state/$1-$2 names="" node
    read -ra ports <<<"$(free_ports 6)"
    mkdir "$folder" || fail "cannot create $folder"
    for node in 0 1 2; do names+="${names:+,}n$node=http://127.0.0.1:${ports[node + 3]}"; done
    for node in 0 1 2; do
        timeout 120 etcd --name "n$node" --data-dir "$folder/n$node" --log-level error \
            --listen-client-urls "http://127.0.0.1:${ports[node]}" \
            --advertise-client-urls "http://127.0.0.1:${ports[node]}" \
            --listen-peer-urls "http://127.0.0.1:${ports[node + 3]}" \
            --initial-advertise-peer-urls "http://127.0.0.1:${ports[node + 3]}" \
            --initial-cluster "$names" --initial-cluster-state new --initial-cluster-token "$$" >&2 &
        started+=($!)
    done
    healthy "${ports[@]:0:3}" || exit 1
    timeout 60 "$program" "$1" --clients "$2" --secs 4 --warm-up-secs 1 --size 256 \
        --ports "${ports[0]},${ports[1]},${ports[2]}" || exit 1
    end_started
}

case $at in
B3)
    load put 1
    load put 64
    ;;
B5) load claim 64 ;;
*) fail "etcd has nothing beside $at" ;;
esac
