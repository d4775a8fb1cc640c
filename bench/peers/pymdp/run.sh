#!/usr/bin/env bash
# pymdp in one thread, 5 s for each model: beside B12. PYMDP_PYTHON is the python that has it; python3 if unset.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

[[ $at == B12 ]] || fail "pymdp has nothing beside $at"
for case in 5-1 5-2 5-4 10-1 {1,5,10,50}-agents-{5,25}; do
    timeout 60 "${PYMDP_PYTHON:-python3}" "$here/bench_pymdp.py" "$case" 5 || exit 1
done
