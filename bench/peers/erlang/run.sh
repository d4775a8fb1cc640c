#!/usr/bin/env bash
# Erlang/OTP: beside B13 messages between two nodes, beside B4 100,000 processes.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

erlc -o "$state" "$here/bench.erl" >&2 || fail "bench.erl does not compile"
case $at in
B13)
    port=$(free_ports 1)
    # A name server of its own: another one on this machine is left alone.
    export ERL_EPMD_PORT=$port
    flags=(-noshell -kernel inet_dist_use_interface '{127,0,0,1}' -setcookie "compare$$" -pa "$state")
    epmd -address 127.0.0.1 -port "$port" >&2 &
    started+=($!)
    for try in {1..100}; do epmd -port "$port" -names >/dev/null 2>&1 && break || sleep 0.05; done
    erl "${flags[@]}" -sname s@localhost -s bench server >&2 &
    started+=($!)
    for try in {1..100}; do epmd -port "$port" -names 2>/dev/null | grep -q "^name s " && break || sleep 0.1; done
    timeout 240 erl "${flags[@]}" -sname c@localhost -s bench dist s@localhost || exit 1
    ;;
B4) timeout 240 erl -noshell -pa "$state" -s bench spawns 100000 || exit 1 ;;
*) fail "erlang has nothing beside $at" ;;
esac
