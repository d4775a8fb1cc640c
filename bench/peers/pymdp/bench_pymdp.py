"""Steps of active-inference agents of pymdp 0.0.7.1 on a small grid: infer_states, infer_policies, sample_action, and a
step of the world. The same model and world as `queenright bench run B12`.

usage: python bench_pymdp.py CASE SECONDS
CASE: SIDE-LENGTH, such as 5-1: one agent on a grid of SIDE x SIDE with as many observations, policies of LENGTH steps;
      or AGENTS-agents-OBSERVATIONS, such as 10-agents-5: agents of a 5 x 5 grid one after the other in one thread, policies
      of one step. With 5 observations a reading tells the row.
Prints one line: METRIC pymdp steps VALUE per_s case=CASE ...
"""
import os
import sys
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import warnings
from importlib.metadata import version

import numpy as np

warnings.filterwarnings("ignore")

from pymdp import utils
from pymdp.agent import Agent

MOVES = [(0, 0), (-1, 0), (1, 0), (0, 1), (0, -1)]


def model(side, observations):
    cells = side * side
    right = 0.9 if observations == cells else 0.8
    a = np.full((observations, cells), (1.0 - right) / (observations - 1))
    b = np.zeros((cells, cells, len(MOVES)))
    for cell in range(cells):
        a[cell * observations // cells, cell] = right
        for action in range(len(MOVES)):
            b[moved(cell, action, side), cell, action] = 1.0
    c = np.zeros(observations)
    c[-1] = 3.0
    d = np.zeros(cells)
    d[0] = 1.0
    return tuple(utils.to_obj_array(part) for part in (a, b, c, d))


def moved(cell, action, side):
    (row, column), (down, right) = divmod(cell, side), MOVES[action]
    return min(max(row + down, 0), side - 1) * side + min(max(column + right, 0), side - 1)


class Walk:
    def __init__(self, side, observations, length, seed):
        a, b, c, d = model(side, observations)
        self.agent = Agent(A=a, B=b, C=c, D=d, policy_len=length, inference_horizon=1)
        self.side, self.observations = side, observations
        self.random = np.random.default_rng(seed)
        self.cell = self.reading = 0

    def step(self):
        self.agent.infer_states([self.reading])
        self.agent.infer_policies()
        self.cell = moved(self.cell, int(self.agent.sample_action()[0]), self.side)
        if self.random.random() < 0.9:
            self.reading = self.cell * self.observations // (self.side * self.side)
        else:
            self.reading = int(self.random.integers(self.observations))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    case, seconds = sys.argv[1], float(sys.argv[2])
    words = case.split("-")
    if len(words) == 2:
        side, length, agents = int(words[0]), int(words[1]), 1
        observations = side * side
    else:
        side, length, agents, observations = 5, 1, int(words[0]), int(words[2])
    walks = [Walk(side, observations, length, seed) for seed in range(1, agents + 1)]
    for walk in walks:
        for _ in range(3):
            walk.step()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for walk in walks:
            walk.step()
        steps += agents
    took = time.perf_counter() - began
    print(f"METRIC pymdp steps {steps / took:.3f} per_s case={case} pymdp={version('inferactively-pymdp')} "
          f"numpy={np.__version__} policies={len(MOVES) ** length} steps={steps}")


main()
