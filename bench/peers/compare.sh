#!/usr/bin/env bash
# Queenright beside its peers on this machine: `queenright bench peers` of this checkout.
# usage: bench/peers/compare.sh DATA_DIR [ROUNDS]
# QUEENRIGHT is the program to measure, built if unset. ONLY is a part: claims, messages, agents or explorers.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
[[ $# -ge 1 && $# -le 2 ]] || {
    echo "usage: bench/peers/compare.sh DATA_DIR [ROUNDS]" >&2
    exit 2
}
if [[ -z ${QUEENRIGHT:-} ]]; then
    (cd "$root" && cargo build --release --quiet --locked)
    QUEENRIGHT=${CARGO_TARGET_DIR:-$root/target}/release/queenright
fi
case ${ONLY:-all} in
all) part=() ;;
claims) part=(--only etcd,redis --workloads B5) ;;
messages) part=(--only erlang,ractor_cluster,tcp --workloads B13) ;;
agents) part=(--only erlang,ractor_cluster --workloads B4) ;;
explorers) part=(--only pymdp --workloads B12) ;;
*)
    echo "compare.sh: ONLY: $ONLY is neither unset, claims, messages, agents nor explorers" >&2
    exit 2
    ;;
esac
exec "$QUEENRIGHT" bench peers "${part[@]}" --peers "$root/bench/peers" --data "$1" --rounds "${2:-3}" --out "$1/peers.json"
