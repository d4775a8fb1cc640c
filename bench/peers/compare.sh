#!/usr/bin/env bash
# Queenright beside its peers on this machine, in one run: etcd (durable puts, claims), Redis (tasks from a stream and a
# list), Erlang and ractor_cluster (messages between two nodes), and by itself pymdp (explorers).
# usage: bench/peers/compare.sh DATA_DIR [ROUNDS]
#
# In each round, in turn: etcd, puts of 1 client and of 64, claims of 64, a fresh cluster of three each; Redis with 64
# clients, one server; Erlang; ractor_cluster; `queenright bench run B3 B5 B13`. Then a table of medians with ratios. Exit
# code: 0 all floors met, 1 some missed, 2 it could not be run.
# DATA_DIR is a folder on the disk that all of them write to; what was measured is kept in DATA_DIR/compare-*.
#
#   QUEENRIGHT     the program to measure; built from this checkout if unset
#   PEERS_TARGET   where the drivers in Rust are built; outside the checkout, below the user's cache folder if
#                  unset
#   ONLY           `claims`: only claims of etcd, Redis and B5; `messages`: only Erlang, ractor_cluster, B1 and B13;
#                  `agents`: only processes of Erlang, actors of ractor and B4, two minutes a round; `explorers`: only pymdp, B12 and B14,
#                  which are not part of the whole
#   PYMDP_PYTHON   the python that has pymdp, for `explorers`; python3 if unset
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

die() {
    echo "compare.sh: $*" >&2
    exit 2
}

[[ $# -ge 1 && $# -le 2 ]] || die "usage: bench/peers/compare.sh DATA_DIR [ROUNDS]"
rounds=${2:-3}
[[ $rounds =~ ^[1-9][0-9]?$ ]] || die "ROUNDS: $rounds is not 1 to 99"
mkdir -p "$1" || die "cannot create $1"
data=$(cd "$1" && pwd)

missing=()
need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null || missing+=("$2")
}
only=${ONLY:-all}
[[ $only == all || $only == claims || $only == messages || $only == agents || $only == explorers ]] ||
    die "ONLY: $only is neither unset, claims, messages, agents nor explorers"
wants() { # PART
    [[ $only == all || $only == "$1" ]]
}
pymdp_python=${PYMDP_PYTHON:-python3}
drivers=()
wants_erlang() { [[ $only == agents ]] || wants messages; }
if wants claims; then
    drivers+=(etcd redis)
    need etcd etcd-server
    need redis-server redis-server
fi
if wants_erlang; then
    drivers+=(ractor)
    need erlc erlang-base
    need erl erlang-base
    need epmd erlang-base
fi
need python3 python3
need cargo "rustup (https://rustup.rs)"
if wants claims && [[ ! -x ${PEERS_TARGET:-}/release/peer-etcd ]]; then
    need protoc protobuf-compiler
    [[ -e /usr/include/google/protobuf/descriptor.proto ]] || missing+=(libprotobuf-dev)
fi
if wants_erlang && command -v erl >/dev/null; then
    for application in crypto:erlang-crypto tools:erlang-tools; do
        erl -noshell -eval "halt(case code:lib_dir(${application%%:*}) of {error, _} -> 1; _ -> 0 end)." ||
            missing+=("${application##*:}")
    done
fi
if [[ ${#missing[@]} -gt 0 ]]; then
    die "missing Debian packages (nothing is installed by this script): $(printf '%s\n' "${missing[@]}" | sort -u | paste -sd' ')"
fi

if [[ $only == explorers ]]; then
    "$pymdp_python" -c 'import sys, importlib.metadata as m; sys.exit(m.version("inferactively-pymdp") != "0.0.7.1")' 2>/dev/null ||
        die "$pymdp_python has no pymdp: pip install inferactively-pymdp==0.0.7.1 in a virtual environment, and name its python in PYMDP_PYTHON"
fi

# Only what this script started is ended by it, by its process id.
started=()
end_started() {
    local pid
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${started[@]}"; do wait "$pid" 2>/dev/null; done
    started=()
}
trap end_started EXIT
trap 'exit 2' INT TERM

out=$(mktemp -d "$data/compare-$(date +%Y%m%d-%H%M%S)-XXXX") || die "cannot write to $data"

target=${PEERS_TARGET:-${XDG_CACHE_HOME:-$HOME/.cache}/queenright-peers}
for peer in "${drivers[@]}"; do
    echo "building the driver of $peer in $target"
    CARGO_TARGET_DIR=$target cargo build --release --quiet --locked --manifest-path "$here/$peer/Cargo.toml" ||
        die "the driver of $peer was not built"
done
if wants_erlang; then
    erlc -o "$out" "$here/erlang/bench.erl" || die "the driver of Erlang was not built"
fi
if [[ -z ${QUEENRIGHT:-} ]]; then
    echo "building queenright"
    (cd "$root" && cargo build --release --quiet --locked) || die "queenright was not built"
    QUEENRIGHT=${CARGO_TARGET_DIR:-$root/target}/release/queenright
fi
[[ -x $QUEENRIGHT ]] || die "$QUEENRIGHT is no program"

free_ports() { # COUNT: ports of loopback that are free now, all held at once while they are drawn
    python3 - "$1" <<'PYTHON'
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in held))
PYTHON
}

healthy() { # PORT...: waits until all nodes of etcd serve
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

etcd_round() { # OP CLIENTS
    local ports folder=$out/etcd-state names="" node
    read -ra ports <<<"$(free_ports 6)"
    mkdir "$folder" || return
    for node in 0 1 2; do names+="${names:+,}n$node=http://127.0.0.1:${ports[node + 3]}"; done
    for node in 0 1 2; do
        timeout 120 etcd --name "n$node" --data-dir "$folder/n$node" --log-level error \
            --listen-client-urls "http://127.0.0.1:${ports[node]}" \
            --advertise-client-urls "http://127.0.0.1:${ports[node]}" \
            --listen-peer-urls "http://127.0.0.1:${ports[node + 3]}" \
            --initial-advertise-peer-urls "http://127.0.0.1:${ports[node + 3]}" \
            --initial-cluster "$names" --initial-cluster-state new --initial-cluster-token "$$" \
            >>"$out/etcd-n$node.log" 2>&1 &
        started+=($!)
    done
    healthy "${ports[@]:0:3}" &&
        timeout 60 "$target/release/peer-etcd" "$1" --clients "$2" --secs 4 --warm-up-secs 1 --size 256 \
            --ports "${ports[0]},${ports[1]},${ports[2]}" >>"$out/peers.txt"
    local result=$?
    end_started
    rm -r "$folder"
    return $result
}

redis_round() { # KIND CLIENTS
    local port folder=$out/redis-state try result=1
    port=$(free_ports 1)
    mkdir "$folder" || return
    # Every write is synced before its answer, and nothing else is written: no snapshots, no rewriting of the log.
    timeout 120 redis-server --port "$port" --bind 127.0.0.1 --dir "$folder" --appendonly yes --appendfsync always \
        --auto-aof-rewrite-percentage 0 --save "" --loglevel warning >>"$out/redis.log" 2>&1 &
    started+=($!)
    for try in {1..100}; do { : <"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null && break || sleep 0.05; done
    timeout 60 "$target/release/peer-redis" "$1" --clients "$2" --secs 4 --warm-up-secs 1 --size 256 \
        --port "$port" >>"$out/peers.txt" && result=0
    end_started
    rm -r "$folder"
    return $result
}

erlang_round() {
    local port result=1 try
    port=$(free_ports 1)
    # A name server of its own: another one on this machine is left alone.
    export ERL_EPMD_PORT=$port
    local flags=(-noshell -kernel inet_dist_use_interface '{127,0,0,1}' -setcookie "compare$$" -pa "$out")
    epmd -address 127.0.0.1 -port "$port" >>"$out/epmd.log" 2>&1 &
    started+=($!)
    for try in {1..100}; do epmd -port "$port" -names >/dev/null 2>&1 && break || sleep 0.05; done
    erl "${flags[@]}" -sname s@localhost -s bench server >>"$out/erlang-server.log" 2>&1 &
    started+=($!)
    for try in {1..100}; do epmd -port "$port" -names 2>/dev/null | grep -q "^name s " && break || sleep 0.1; done
    timeout 240 erl "${flags[@]}" -sname c@localhost -s bench dist s@localhost >>"$out/peers.txt" && result=0
    end_started
    unset ERL_EPMD_PORT
    return $result
}

ractor_round() {
    local ports result=1
    read -ra ports <<<"$(free_ports 2)"
    "$target/release/peer-ractor" server "${ports[0]}" >>"$out/ractor-server.log" 2>&1 &
    started+=($!)
    timeout 240 "$target/release/peer-ractor" client "${ports[@]}" >>"$out/peers.txt" 2>>"$out/ractor-client.log" && result=0
    end_started
    return $result
}

pymdp_round() {
    local case
    for case in 5-1 5-2 5-4 10-1 {1,5,10,50}-agents-{5,25}; do
        timeout 60 "$pymdp_python" "$here/pymdp/bench_pymdp.py" "$case" 5 >>"$out/peers.txt" 2>>"$out/pymdp.log" || return
    done
}

echo "results go to $out"
workloads=(B3 B5 B13)
[[ $only == claims ]] && workloads=(B5)
[[ $only == messages ]] && workloads=(B1 B13)
[[ $only == explorers ]] && workloads=(B12 B14)
[[ $only == agents ]] && workloads=(B4)
for ((round = 1; round <= rounds; round++)); do
    echo "round $round of $rounds (load average $(cut -d' ' -f1 /proc/loadavg 2>/dev/null || echo unknown))"
    if [[ $only == all ]]; then
        echo "round $round of $rounds: etcd, puts"
        etcd_round put 1 || die "etcd with 1 client failed; see $out"
        etcd_round put 64 || die "etcd with 64 clients failed; see $out"
    fi
    if wants claims; then
        echo "round $round of $rounds: etcd, claims"
        etcd_round claim 64 || die "claims of etcd failed; see $out"
        echo "round $round of $rounds: Redis"
        redis_round stream 64 || die "Redis with a stream failed; see $out"
        redis_round list 64 || die "Redis with a list failed; see $out"
    fi
    if [[ $only == explorers ]]; then
        echo "round $round of $rounds: pymdp"
        pymdp_round || die "pymdp failed; see $out"
    fi
    if wants messages; then
        echo "round $round of $rounds: Erlang"
        erlang_round || die "Erlang failed; see $out"
        echo "round $round of $rounds: ractor_cluster"
        ractor_round || die "ractor_cluster failed; see $out"
    fi
    if [[ $only == agents ]]; then
        echo "round $round of $rounds: Erlang"
        timeout 240 erl -noshell -pa "$out" -s bench spawns 100000 >>"$out/peers.txt" || die "Erlang failed; see $out"
        echo "round $round of $rounds: ractor"
        timeout 240 "$target/release/peer-ractor" spawn 100000 >>"$out/peers.txt" || die "ractor failed; see $out"
    fi
    echo "round $round of $rounds: queenright"
    timeout 3600 "$QUEENRIGHT" bench run "${workloads[@]}" --repeats 1 --json --quiet --data "$out" >>"$out/queenright.jsonl" ||
        die "queenright failed; see $out"
done

python3 "$here/table.py" "$out/peers.txt" "$out/queenright.jsonl" "${workloads[@]}" | tee "$out/table.txt"
exit "${PIPESTATUS[0]}"
