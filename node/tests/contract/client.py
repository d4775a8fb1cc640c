"""A client generated from the OpenAPI document adds a task at one node, claims it at a second, finishes it at a third; writes and
reads the memory; reads the events; and gets problems that it can tell apart.

Run as: client.py URL URL URL, with the generated package `queenright_client` on PYTHONPATH and the token of the door in
QUEENRIGHT_AUTH_TOKEN.
"""

import io
import os
import sys

from queenright_client import AuthenticatedClient
from queenright_client.api.events import events
from queenright_client.api.memory import memory_get, memory_put
from queenright_client.api.tasks import task_add, task_claim, task_finish, task_show
from queenright_client.models import AddTask, AddTasks, ClaimTasks, Ending, FinishTask
from queenright_client.types import File


def answered(response):
    assert 200 <= response.status_code < 300, response
    assert response.parsed is not None, response
    return response.parsed


def refused(response, status, code):
    problem = response.parsed
    assert response.status_code == status and problem is not None, response
    assert (int(problem.status), str(problem.code)) == (status, code), problem


def main():
    doors = [AuthenticatedClient(base_url=url, token=os.environ["QUEENRIGHT_AUTH_TOKEN"]) for url in sys.argv[1:4]]
    body = AddTasks(tasks=[AddTask(title="by a generated client", payload={"n": 1})])
    added = answered(task_add.sync_detailed(client=doors[0], body=body, idempotency_key="once"))
    again = answered(task_add.sync_detailed(client=doors[1], body=body, idempotency_key="once"))
    assert [task.task for task in added.tasks] == [task.task for task in again.tasks], (added, again)
    claimed = answered(task_claim.sync_detailed(client=doors[1], body=ClaimTasks()))
    task = claimed.tasks[0]
    assert task.task == added.tasks[0].task and task.attempt == 1, claimed
    end = FinishTask(fence=task.fence, token=claimed.token, outcome=Ending.DONE, result={"n": 2})
    answered(task_finish.sync_detailed(task.task, client=doors[2], body=end))
    refused(task_finish.sync_detailed(task.task, client=doors[0], body=end), 409, "CONFLICT")
    refused(task_show.sync_detailed("999999-0", client=doors[0]), 404, "NOT_FOUND")
    refused(task_show.sync_detailed("x", client=doors[0]), 400, "INVALID")
    stranger = AuthenticatedClient(base_url=sys.argv[1], token="qr_wrong")
    refused(task_show.sync_detailed(task.task, client=stranger), 401, "UNAUTHORIZED")
    shown = answered(task_show.sync_detailed(task.task, client=doors[0]))
    assert shown.state == "done", shown

    put = answered(memory_put.sync_detailed("plan/a", client=doors[0], body=File(payload=io.BytesIO(b"\x00\xff"))))
    got = memory_get.sync_detailed("plan/a", client=doors[2])
    assert answered(got).payload.read() == b"\x00\xff", got
    assert got.headers["etag"] == f'"{put.revision}"', (got.headers, put)
    stale = memory_put.sync_detailed(
        "plan/a", client=doors[1], body=File(payload=io.BytesIO(b"x")), if_match=f'"{put.revision + 1}"'
    )
    refused(stale, 412, "CONFLICT")
    page = answered(events.sync_detailed(client=doors[1], types="task_finished", after="0"))
    assert [event.task for event in page.events] == [task.task], page
    print(f"task {task.task} is done")


main()
