# What the drivers share. Sourced by run.sh of each peer, which is called with WORKLOAD STATE PROGRAM: beside which workload
# of ours it measures, an empty folder on the disk that is measured, and the driver in Rust where there is one. On stdout it
# prints a line for each figure, METRIC peer name value unit parameters, and nothing else; what else is to be said goes to
# stderr. It ends what it started, by process id, also when it is told to end itself.
set -uo pipefail

at=$1
state=$2
program=${3:-}
here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)

fail() {
    echo "$*" >&2
    exit 1
}

started=()
end_started() {
    local pid
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${started[@]}"; do wait "$pid" 2>/dev/null; done
    started=()
}
trap end_started EXIT
trap 'exit 143' INT TERM

free_ports() { # COUNT: ports of loopback that are free now, all held at once while they are drawn
    python3 - "$1" <<'PYTHON'
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in held))
PYTHON
}
