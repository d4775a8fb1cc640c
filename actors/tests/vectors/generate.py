"""Writes pymdp.json: models and what pymdp 0.0.7.1 makes of them, step by step, for the tests of the explorer.

    python3 -m venv /tmp/pymdp && /tmp/pymdp/bin/pip install inferactively-pymdp==0.0.7.1 numpy==1.26.4 "pandas<3"
    /tmp/pymdp/bin/python actors/tests/vectors/generate.py

Arrays are written flat, in numpy's order: A[m] as [observation][state of each factor], B[f] as [next][previous][action].
Every number is written so that it is read back as it is. Columns of random models are drawn from a Dirichlet distribution,
so that each observation says something about the states.
"""

import json
import pathlib
import warnings

import numpy as np
from pymdp import utils
from pymdp.agent import Agent

warnings.filterwarnings("ignore")


def columns(rng, rows, shape, concentration):
    drawn = rng.dirichlet(np.full(rows, concentration), size=shape)
    return np.moveaxis(drawn, -1, 0)


def random_model(rng, observations, states, controls):
    a = utils.obj_array(len(observations))
    for m, rows in enumerate(observations):
        a[m] = columns(rng, rows, tuple(states), 0.7)
    b = utils.obj_array(len(states))
    for f, rows in enumerate(states):
        b[f] = np.moveaxis(columns(rng, rows, (controls[f], rows), 0.5), 1, 2)
    c = utils.obj_array(len(observations))
    for m, rows in enumerate(observations):
        c[m] = rng.normal(size=rows)
    d = utils.obj_array(len(states))
    for f, rows in enumerate(states):
        d[f] = rng.dirichlet(np.ones(rows))
    return a, b, c, d


def grid_model(side):
    """That of the speed comparison: a noisy reading of the cell, five moves, one preferred cell."""
    cells = side * side
    a = np.full((cells, cells), 0.1 / (cells - 1))
    np.fill_diagonal(a, 0.9)
    moves = [(0, 0), (-1, 0), (1, 0), (0, 1), (0, -1)]
    b = np.zeros((cells, cells, len(moves)))
    for cell in range(cells):
        row, column = divmod(cell, side)
        for action, (down, right) in enumerate(moves):
            to = min(max(row + down, 0), side - 1) * side + min(max(column + right, 0), side - 1)
            b[to, cell, action] = 1.0
    c = np.zeros(cells)
    c[-1] = 3.0
    d = np.zeros(cells)
    d[0] = 1.0
    return tuple(utils.to_obj_array(part) for part in (a, b, c, d))


def flat(arrays):
    return [np.asarray(array, dtype=float).ravel().tolist() for array in arrays]


def case(name, model, length, steps, seed, habits=None, learn=False, parameter_gain=False, selection="deterministic"):
    rng = np.random.default_rng(seed)
    a, b, c, d = model
    states = [part.shape[0] for part in b]
    controls = [part.shape[2] for part in b]
    observations = [part.shape[0] for part in a]
    count = int(np.prod(controls)) ** length
    e = rng.dirichlet(np.ones(count)) if habits else None
    learned = {}
    if learn:
        # Some counts are 0: what is impossible stays so.
        pa, pb, pd = (utils.obj_array(len(part)) for part in (a, b, d))
        for m in range(len(a)):
            pa[m] = rng.gamma(2.0, size=a[m].shape) + 0.1
            pa[m].ravel()[:: max(7, a[m].shape[0] + 2)] = 0.0
        for f in range(len(b)):
            pb[f] = rng.gamma(2.0, size=b[f].shape) + 0.1
            pb[f].ravel()[::7] = 0.0
            pd[f] = rng.gamma(2.0, size=d[f].shape) + 0.1
        a, b, d = utils.norm_dist_obj_arr(pa), utils.norm_dist_obj_arr(pb), utils.norm_dist_obj_arr(pd)
        learned = {"pA": pa, "pB": pb, "pD": pd}
    agent = Agent(
        A=a, B=b, C=c, D=d, E=e, policy_len=length, action_selection=selection,
        use_param_info_gain=parameter_gain, lr_pA=0.7, lr_pB=0.9, lr_pD=0.5, **learned,
    )
    written = {
        "name": name,
        "model": {
            "observations": observations, "states": states, "controls": controls, "likelihood": flat(a),
            "transitions": flat(b), "preferences": flat(c), "prior": flat(d), "policy_length": length,
            "habits": None if e is None else e.tolist(),
        },
        "counts": {key: flat(value) for key, value in learned.items()} if learn else None,
        "parameter_gain": parameter_gain,
        "steps": [],
    }
    previous = None
    first = None
    for _ in range(steps):
        observation = [int(rng.integers(rows)) for rows in observations]
        qs = agent.infer_states(observation)
        first = qs if first is None else first
        step = {"observation": observation, "belief": flat(qs)}
        if learn:
            step["pA"] = flat(agent.update_A(observation))
            if previous is not None:
                step["pB"] = flat(agent.update_B(previous))
        previous = qs
        q_pi, g = agent.infer_policies()
        step["policies"] = np.ravel(q_pi).tolist()
        step["gains"] = np.ravel(g).tolist()
        action = agent.sample_action()
        step["action"] = [int(part) for part in action]
        written["steps"].append(step)
    if learn:
        written["pD"] = flat(agent.update_D(first))
    return written


def main():
    rng = np.random.default_rng(20240229)
    cases = [
        case("one factor, one modality", random_model(rng, [4], [5], [3]), 1, 6, 1),
        case("one factor, length 4", random_model(rng, [4], [4], [3]), 4, 3, 2),
        case("one factor, three modalities", random_model(rng, [3, 2, 4], [5], [3]), 2, 6, 3),
        case("two factors, two modalities", random_model(rng, [4, 3], [4, 3], [3, 2]), 2, 6, 4),
        case("two factors, one of them not controlled, habits", random_model(rng, [3, 5], [5, 3], [4, 1]), 1, 6, 5, habits=True),
        case("three factors, three modalities", random_model(rng, [3, 4, 2], [3, 2, 4], [2, 1, 3]), 2, 5, 6),
        case("a grid of 5 x 5", grid_model(5), 1, 6, 7),
        case("a grid of 3 x 3, length 3", grid_model(3), 3, 5, 8),
        case("learning, one factor", random_model(rng, [4], [4], [3]), 2, 6, 9, learn=True, parameter_gain=True),
        case("learning, two factors, two modalities", random_model(rng, [3, 3], [3, 2], [2, 2]), 1, 6, 10, learn=True, parameter_gain=True),
        case("learning without its gain", random_model(rng, [4, 2], [3, 3], [3, 1]), 2, 5, 11, learn=True),
    ]
    path = pathlib.Path(__file__).with_name("pymdp.json")
    path.write_text(json.dumps({"pymdp": "0.0.7.1", "cases": cases}, separators=(",", ":")) + "\n")
    print(f"{path}: {path.stat().st_size} B")


main()
