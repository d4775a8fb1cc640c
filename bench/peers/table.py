"""Medians of a comparison, side by side. usage: python3 table.py PEERS.txt QUEENRIGHT.jsonl WORKLOAD...

PEERS.txt has lines `METRIC peer name value unit parameters`, QUEENRIGHT.jsonl a report of `queenright bench` in each
line, the WORKLOADs are those that were run. Exit code 1 if a floor is missed or a signal, put or task was lost.
"""

import collections
import json
import statistics
import sys

# What, the peer and its figure with parameters, ours, whether more is better, the floor and the target as ratios.
COMPARED = [
    ("durable puts/s, 64", "etcd", "put.rate", "clients=64", "B3", "put rate, 64 agents", True, 3.0, 10.0),
    ("durable puts/s, 64 over HTTP", "etcd", "put.rate", "clients=64", "B3", "put rate, 64 clients over HTTP", True, None, 2.0),
    ("put p50 us, 1 on the leader", "etcd", "put.p50", "clients=1", "B3", "put latency, 1 agent, leader's node", False, 1.0, 0.5),
    ("put p50 us, 1 on a follower", "etcd", "put.p50", "clients=1", "B3", "put latency, 1 agent, follower's node", False, None, 0.5),
    ("claims/s, 64", "etcd", "claim.rate", "clients=64", "B5", "claim rate, 64 agents", True, 3.0, None),
    ("claim and finish/s, 64; etcd: claim", "etcd", "claim.rate", "clients=64", "B5", "claim and finish rate, 64 agents", True, None, 10.0),
    ("claim and finish/s, 64; a stream", "redis", "stream.tasks", "clients=64", "B5", "claim and finish rate, 64 agents", True, None, 2.0),
    ("claim and finish/s, 64; a list", "redis", "list.tasks", "clients=64", "B5", "claim and finish rate, 64 agents", True, None, 2.0),
    ("128 B one way/s, 1 sender", "erlang", "dist.cast.delivered", "senders=1", "B13", "one way, 1 sender", True, 2.0, 5.0),
    ("128 B one way/s, 8 senders", "erlang", "dist.cast.delivered", "senders=8", "B13", "one way, 8 senders to 8 agents", True, None, 5.0),
    ("call p50 us, 1 caller", "erlang", "dist.call.p50", "callers=1", "B13", "call latency, 1 caller", False, None, 1.0),
    ("calls/s, 100 callers", "erlang", "dist.callmany.rate", "callers=100", "B13", "call rate, 100 callers", True, None, 5.0),
    ("128 B one way/s, 1 sender", "ractor_cluster", "cast.delivered", "senders=1", "B13", "one way, 1 sender", True, None, None),
    ("128 B one way/s, 8 senders", "ractor_cluster", "cast.delivered", "senders=8", "B13", "one way, 8 senders to 8 agents", True, None, None),
    ("call p50 us, 1 caller", "ractor_cluster", "call.p50", "callers=1", "B13", "call latency, 1 caller", False, None, None),
    ("calls/s, 100 callers", "ractor_cluster", "callmany.rate", "callers=100", "B13", "call rate, 100 callers", True, None, None),
    ("1 core, 25 states, policy length 1", "pymdp", "steps", "case=5-1", "B12", "1 core, 25 states, policy length 1", True, 50.0, None),
    ("1 core, 25 states, policy length 2", "pymdp", "steps", "case=5-2", "B12", "1 core, 25 states, policy length 2", True, 50.0, None),
    ("1 core, 25 states, policy length 4", "pymdp", "steps", "case=5-4", "B12", "1 core, 25 states, policy length 4", True, 50.0, None),
    ("1 core, 100 states, policy length 1", "pymdp", "steps", "case=10-1", "B12", "1 core, 100 states, policy length 1", True, 50.0, None),
    ("1 agents, 5 observations; pymdp: 1 thread", "pymdp", "steps", "case=1-agents-5", "B12", "1 agents, 5 observations, beliefs every step", True, None, None),
    ("5 agents, 5 observations; pymdp: 1 thread", "pymdp", "steps", "case=5-agents-5", "B12", "5 agents, 5 observations, beliefs every step", True, None, None),
    ("10 agents, 5 observations; pymdp: 1 thread", "pymdp", "steps", "case=10-agents-5", "B12", "10 agents, 5 observations, beliefs every step", True, None, None),
    ("50 agents, 5 observations; pymdp: 1 thread", "pymdp", "steps", "case=50-agents-5", "B12", "50 agents, 5 observations, beliefs every step", True, None, None),
    ("1 agents, 25 observations; pymdp: 1 thread", "pymdp", "steps", "case=1-agents-25", "B12", "1 agents, 25 observations, beliefs every step", True, None, None),
    ("5 agents, 25 observations; pymdp: 1 thread", "pymdp", "steps", "case=5-agents-25", "B12", "5 agents, 25 observations, beliefs every step", True, None, None),
    ("10 agents, 25 observations; pymdp: 1 thread", "pymdp", "steps", "case=10-agents-25", "B12", "10 agents, 25 observations, beliefs every step", True, None, None),
    ("50 agents, 25 observations; pymdp: 1 thread", "pymdp", "steps", "case=50-agents-25", "B12", "50 agents, 25 observations, beliefs every step", True, None, None),
    ("actors started/s", "ractor_cluster", "spawn.rate", "n=100000", "B4", "spawn rate, active", True, 1.0, None),
    ("memory of an active agent, B", "ractor_cluster", "spawn.bytes", "n=100000", "B4", "resident memory per active agent", False, None, None),
    ("signals among 100,000 actors/s", "ractor_cluster", "token.rate", "n=100000", "B4", "signals among active agents", True, None, None),
    ("processes started/s", "erlang", "spawn.rate", "n=100000", "B4", "spawn rate, active", True, None, None),
    ("memory of a process, B", "erlang", "spawn.bytes", "n=100000", "B4", "resident memory per active agent", False, None, None),
    ("signals among 100,000 processes/s", "erlang", "token.rate", "n=100000", "B4", "signals among active agents", True, None, None),
]
HEAD = ["", "peer", "its median", "its range", "ours", "our range", "ours/peer", "floor", "target"]


def peers(path):
    found = collections.defaultdict(list)
    with open(path, errors="replace") as lines:
        for line in lines:
            words = line.split()
            if len(words) >= 5 and words[0] == "METRIC":
                for parameter in words[5:]:
                    found[words[1], words[2], parameter].append(float(words[3]))
    return found


def ours(path):
    values, lost, reports = collections.defaultdict(list), collections.Counter(), []
    units = {}
    with open(path) as lines:
        for line in lines:
            report = json.loads(line)
            reports.append(report)
            for row in report["rows"]:
                units[report["workload"], row["name"]] = row["unit"]
                values[report["workload"], row["name"]].append(row["value"])
                lost[report["workload"], row["name"]] += row.get("counts", {}).get("lost", 0)
    return values, lost, reports, units


def number(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}"


def spread(values):
    return f"{number(min(values))}..{number(max(values))}"


def verdict(ratio, bound, more_is_better):
    if bound is None:
        return "-", True
    met = ratio >= bound if more_is_better else ratio <= bound
    return f"{'>=' if more_is_better else '<='} {bound:g} {'met' if met else 'MISSED'}", met


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    ran = sys.argv[3:]
    theirs = peers(sys.argv[1])
    values, lost, reports, units = ours(sys.argv[2])
    table, good = [HEAD], True
    for what, peer, name, parameter, workload, row, more_is_better, floor, target in COMPARED:
        if workload not in ran:
            continue
        a, b = theirs.get((peer, name, parameter)), values.get((workload, row))
        if not a or not b:
            table.append([what, peer, *(["not measured"] if not a else [number(statistics.median(a))])])
            good = good and floor is None
            continue
        ratio = statistics.median(b) / statistics.median(a)
        floor_text, met = verdict(ratio, floor, more_is_better)
        good = good and met
        table.append([what, peer, number(statistics.median(a)), spread(a), number(statistics.median(b)), spread(b),
                      f"{ratio:.2f}", floor_text, verdict(ratio, target, more_is_better)[0]])
    first = reports[0]
    machine = first["conditions"]["machine"]
    loads = [str(report["conditions"]["machine"]["load_1m"]) for report in reports]
    print(f"commit {first['conditions']['commit']}, {first['conditions']['build']} build, {machine['cores']} cores of "
          f"{machine['cpu']}, {machine['kernel']}, {first['conditions']['file_system']['name']}, durability "
          f"{first['conditions']['durability']}")
    print(f"load average before each of our runs: {', '.join(loads)}")
    syncs = [value for workload in ran for value in values.get((workload, "write and sync 4 KiB"), [])]
    if syncs:
        print(f"write and sync of 4 KiB, p50: {number(statistics.median(syncs))} us ({spread(syncs)})")
    print(f"medians of {sum(report['workload'] == ran[0] for report in reports)} rounds, peers and queenright in turn; one host is not "
          "a network\n")
    widths = [max(len(cells[column]) for cells in table if column < len(cells)) for column in range(len(HEAD))]
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
    compared = {workload for _, _, _, _, workload, *_ in COMPARED}
    for workload in ran:
        if workload in compared:
            continue
        print(f"\n{workload}, which no peer has:")
        for (of, row), found in values.items():
            if of == workload:
                print(f"  {row}: {number(statistics.median(found))} {units[of, row]} ({spread(found)})")
    gone = {f"{workload} {row}": count for (workload, row), count in lost.items() if count}
    print("\nlost: " + (json.dumps(gone) if gone else "0 in all rows"))
    sys.exit(0 if good and not gone else 1)


if __name__ == "__main__":
    main()
