#!/usr/bin/env bash
# ractor_cluster as it is: beside B13 messages between two nodes, beside B4 100,000 actors of one process.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

case $at in
B13)
    read -ra ports <<<"$(free_ports 2)"
    "$program" server "${ports[0]}" >&2 &
    started+=($!)
    timeout 240 "$program" client "${ports[@]}" || exit 1
    ;;
B4) timeout 240 "$program" spawn 100000 || exit 1 ;;
*) fail "ractor has nothing beside $at" ;;
esac
