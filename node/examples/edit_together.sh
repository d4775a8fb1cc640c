#!/usr/bin/env bash
# Agents on all nodes edit one git project. Each task is given to one of them and reserves the file that it is about. The
# agent edits what all have agreed on so far and proposes its commit; who was overtaken begins again from what is agreed on
# then. At the end that is a branch of the repository, with each edit in it once, whatever has been killed meanwhile.
#
#     queenright up cluster-configs/mesh-3.toml
#     node/examples/edit_together.sh ~/project 127.0.0.1:7201 127.0.0.1:7202 127.0.0.1:7203
#
# The repository is made if it is not there. For other work change `tasks`, which says what is to be done, and `edit`, which
# does it. Needs bash, git and queenright, the same on the hosts of all nodes, and the repository at the same place.
set -euo pipefail

AGENTS=${AGENTS:-2} # on each node
EDITS=${EDITS:-24}
export GIT_AUTHOR_NAME=editor GIT_AUTHOR_EMAIL=editor@localhost
export GIT_COMMITTER_NAME=editor GIT_COMMITTER_EMAIL=editor@localhost

# What is to be done, a task a line. Whoever claims one has its file for as long as it holds the task; who dies holds none.
tasks() {
    local number file
    for number in $(seq "$EDITS"); do
        file="edits/$((number % 5)).txt"
        printf '{"kind": "edit", "name": "edit-%s", "title": "edit %s", ' "$number" "$number"
        printf '"payload": {"file": "%s"}, "resources": [{"resource": "file:tree/%s"}]}\n' "$file" "$file"
    done
}

# Does it: a line at the top of the file, where all edits of this file go; and one at the end of a list that all edits touch
# and nobody reserves.
edit() {
    local title=$1 file=$2
    mkdir -p "$(dirname "$file")"
    touch "$file"
    { echo "$title" && cat "$file"; } >edited
    mv edited "$file"
    echo "$title: $file" >>CHANGES.txt
}

# One attempt at a task, in a worktree of its own. What is printed on stdout is the task's result, the rest is its log.
attempt() {
    local task title file tries=0 code
    task=$(cat)
    title=$(sed -n 's/.*"title":"\([^"]*\)".*/\1/p' <<<"$task")
    file=$(sed -n 's/.*"file":"\([^"]*\)".*/\1/p' <<<"$task")
    while true; do
        queenright memory checkout . >&2
        git add --all
        git commit --quiet --allow-empty --message 'As agreed'
        # An earlier attempt may have been killed after its proposal.
        if grep -Fqx "$title" "$file" 2>/dev/null; then
            echo '"it was there"'
            return
        fi
        edit "$title" "$file"
        git add --all
        git commit --quiet --message "$title"
        tries=$((tries + 1)) code=0
        # Under the lease of the task: it changes nothing once the task is another's.
        queenright propose --git HEAD~..HEAD --message "$title" \
            --task "$QUEENRIGHT_TASK" --fence "$QUEENRIGHT_FENCE" >&2 || code=$?
        case $code in
        0) echo "{\"tries\": $tries}" && return ;;
        3) ;; # Somebody else was there before: once more, from what there is now.
        *) return "$code" ;;
        esac
    done
}

make() {
    git init --quiet "$1"
    mkdir "$1/edits"
    for number in 0 1 2 3 4; do
        echo "the text of $number" >"$1/edits/$number.txt"
    done
    git -C "$1" add --all
    git -C "$1" commit --quiet --message 'The beginning'
}

on_each() {
    local node number
    for node in "${nodes[@]}"; do
        for number in $(seq "$AGENTS"); do
            "$@" "editor-$number" --node "$node"
        done
    done
}

start() {
    queenright agent exec "$@" --kind edit --retry --worktree --repository "$repository" --environment "PATH=$PATH" \
        -- bash "$self" --attempt
}

# Each edit stands once in its file, and once in the list.
check() {
    local number found
    for number in $(seq "$EDITS"); do
        found=$(cat "$1"/edits/*.txt "$1/CHANGES.txt" | grep -Ecx "edit $number(: .*)?" || true)
        if [ "$found" != 2 ]; then
            echo "edit $number is there $found times, not 2" >&2
            return 1
        fi
    done
}

if [ "${1:-}" = --attempt ]; then
    attempt
    exit
fi
if [ $# -lt 2 ]; then
    echo "usage: $0 REPOSITORY NODE... (such as ~/project 127.0.0.1:7201)" >&2
    exit 2
fi
self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
[ -e "$1" ] || make "$1"
repository=$(cd "$1" && pwd)
nodes=("${@:2}")
export QUEENRIGHT_NODE=${nodes[0]}
queenright propose --git HEAD --repo "$repository"
tasks | queenright task import -
on_each start
queenright task watch --until-empty
on_each queenright agent stop

agreed="$repository-agreed"
git -C "$repository" worktree add --quiet -b agreed "$agreed"
queenright memory checkout "$agreed"
check "$agreed"
git -C "$agreed" add --all
git -C "$agreed" commit --quiet --message 'What the agents have agreed on'
git -C "$agreed" show --stat --format='%h %s'
