#!/usr/bin/env bash
# A swarm of explorers on a cluster that runs: each acts by active inference on a grid whose goal nobody knows, and they tell
# each other what they believe. Three runs, each from a seed of its own and drawn to a file.
#
#     queenright up cluster-configs/mesh-3.toml
#     node/examples/explorers.sh ~/runs 127.0.0.1:7201
set -euo pipefail

AGENTS=${AGENTS:-100}
GRID=${GRID:-16}
STEPS=${STEPS:-40}

if [ $# -ne 2 ]; then
    echo "usage: $0 FOLDER NODE (such as ~/runs 127.0.0.1:7201)" >&2
    exit 2
fi
mkdir -p "$1"
missing=0
for seed in 1 2 3; do
    run=$(queenright explore --node "$2" --grid "$GRID" --agents "$AGENTS" --steps "$STEPS" --seed "$seed" \
        --svg "$1/seed-$seed.svg" --json)
    there=$(sed -n 's/.*"at_goal": *\([0-9]*\).*/\1/p' <<<"$run")
    echo "seed $seed: $there of $AGENTS at the goal after $STEPS steps, drawn in $1/seed-$seed.svg"
    [ "$there" -ge $((AGENTS * 9 / 10)) ] || missing=1
done
exit "$missing"
