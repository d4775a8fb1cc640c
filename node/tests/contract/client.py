"""A client generated from the OpenAPI document adds a task at one node, claims it at a second, finishes it at a third.

Run as: client.py URL URL URL, with the generated package `queenright_client` on PYTHONPATH and the token of the door in
QUEENRIGHT_AUTH_TOKEN.
"""

import os
import sys

from queenright_client import AuthenticatedClient
from queenright_client.api.tasks import task_add, task_claim, task_finish, task_show
from queenright_client.models import AddTask, AddTasks, Ending, FinishTask, ClaimTasks, Problem


def answered(answer):
    assert not isinstance(answer, Problem) and answer is not None, answer
    return answer


def main():
    doors = [AuthenticatedClient(base_url=url, token=os.environ["QUEENRIGHT_AUTH_TOKEN"]) for url in sys.argv[1:4]]
    body = AddTasks(tasks=[AddTask(title="by a generated client", payload={"n": 1})])
    added = answered(task_add.sync(client=doors[0], body=body, idempotency_key="once"))
    again = answered(task_add.sync(client=doors[1], body=body, idempotency_key="once"))
    assert [task.task for task in added.tasks] == [task.task for task in again.tasks], (added, again)
    claimed = answered(task_claim.sync(client=doors[1], body=ClaimTasks()))
    task = claimed.tasks[0]
    assert task.task == added.tasks[0].task and task.attempt == 1, claimed
    end = FinishTask(fence=task.fence, token=claimed.token, outcome=Ending.DONE, result={"n": 2})
    answered(task_finish.sync(task.task, client=doors[2], body=end))
    stale = task_finish.sync_detailed(task.task, client=doors[0], body=end)
    assert stale.status_code == 409, stale
    shown = answered(task_show.sync(task.task, client=doors[0]))
    assert shown.state == "done", shown
    print(f"task {task.task} is done")


main()
