#!/usr/bin/env python3
"""A worker over HTTP that needs nothing but Python: claims tasks of a kind, hashes the file that each names.

    queenright task add hello --kind hash --payload '{"file": "README.md"}'
    python3 worker.py http://127.0.0.1:7201 --kind hash

It talks to one node, that of its host; if that node starts anew it goes on. To do other work, change `work`.
"""

import argparse
import hashlib
import json
import random
import secrets
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

TTL_S = 30
WAIT_S = 20
REQUEST_S = 10


def work(task):
    """The result of a task: whatever is JSON and at most 64 KiB. An exception fails the task."""
    with open(task["payload"]["file"], "rb") as file:
        return {"sha256": hashlib.sha256(file.read()).hexdigest()}


class Refused(Exception):
    """The door has answered, and the same request would get the same answer."""

    def __init__(self, problem):
        super().__init__(problem["detail"])
        self.code = problem["code"]


class Door:
    """The door of a node. What is sent carries an idempotency key, so it may be sent again until there is an answer."""

    def __init__(self, url, project):
        self.url = url.rstrip("/")
        self.project = project

    def once(self, method, path, body=None, key=None, wait=0):
        query = urllib.parse.urlencode({"project": self.project})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}?{query}", data, method=method)
        request.add_header("queenright-agent", "worker.py")
        request.add_header("x-request-timeout-ms", str(REQUEST_S * 1000))
        if data is not None:
            request.add_header("content-type", "application/json")
        if key is not None:
            request.add_header("idempotency-key", key)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_S + wait + 1) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            problem = json.load(error)
            # A problem that says so passes by itself; after an unknown outcome a repeat says what came of it.
            if problem["retryable"] or problem["code"] == "UNKNOWN_OUTCOME":
                raise OSError(problem["detail"]) from error
            raise Refused(problem) from error

    def ask(self, method, path, body=None, key=None, stop=None, wait=0):
        """As `once`, until there is an answer; nothing if `stop` is set before."""
        pause = 0.05
        while stop is None or not stop.is_set():
            try:
                return self.once(method, path, body, key, wait=wait)
            except Refused:
                raise
            except (OSError, ValueError):
                time.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, 2)
        return None


class Session:
    """What a worker is to the colony: whoever has the token, which no other worker has, whatever they are called. What
    it claims is held while it lives, and it lives while it gives signs of life."""

    def __init__(self, door):
        self.door = door
        self.token = secrets.token_hex(16)
        self.keys = f"py-{secrets.token_hex(16)}"
        self.claims = 0
        self.ended = threading.Event()
        body = {"name": "worker.py", "token": self.token, "ttl_ms": TTL_S * 1000}
        self.id = door.ask("POST", "/v1/sessions", body, f"{self.keys}-o")["session"]
        threading.Thread(target=self.beat, daemon=True).start()

    def beat(self):
        while not self.ended.wait(TTL_S / 3):
            try:
                self.door.ask("POST", f"/v1/sessions/{self.id}:heartbeat", {"token": self.token}, stop=self.ended)
            except Refused as refused:
                print(f"{self.id}: {refused}", file=sys.stderr)
                self.ended.set()

    def claim(self, kinds, wait):
        """At most one task; while none is ready the node keeps the answer back, for so many seconds."""
        self.claims += 1
        body = {"kinds": kinds, "limit": 1, "token": self.token, "wait_ms": wait * 1000}
        claimed = self.door.ask("POST", "/v1/tasks:claim", body, f"{self.keys}-c{self.claims}", wait=wait)
        if "accept_within_ms" in claimed:
            # It was offered to whoever waited: it is held once it is accepted.
            for task in claimed["tasks"]:
                accept = {"fence": task["fence"], "token": self.token}
                self.door.ask("POST", f"/v1/tasks/{task['task']}:accept", accept)
        return claimed["tasks"]

    def finish(self, task, outcome, result):
        body = {"fence": task["fence"], "token": self.token, "outcome": outcome, "result": result}
        key = f"{self.keys}-f{task['task']}-{task['fence']}"
        return self.door.ask("POST", f"/v1/tasks/{task['task']}:finish", body, key)

    def close(self):
        self.ended.set()
        try:
            self.door.once("POST", f"/v1/sessions/{self.id}:close", {"token": self.token})
        except (Refused, OSError, ValueError):
            pass  # It ends by itself.


class Worker:
    def __init__(self, door, kinds):
        self.door = door
        self.kinds = kinds
        self.session = Session(door)
        self.ends = False
        self.waits = False

    def attempt(self, task):
        try:
            outcome, result = "done", work(task)
        except Exception as error:  # Whatever it is, it is the task's end and not the worker's.
            outcome, result = "failed", {"error": repr(error)}
        try:
            self.session.finish(task, outcome, result)
            print(f"{task['task']}: {outcome}", file=sys.stderr)
        except Refused as refused:
            # The session had ended, and the task is another's.
            print(f"{task['task']}: {refused.code}: {refused}", file=sys.stderr)

    def run(self, exit_when_empty):
        try:
            while not self.ends:
                try:
                    self.waits = True
                    tasks = self.session.claim(self.kinds, 0 if exit_when_empty else WAIT_S)
                    self.waits = False
                except Refused as refused:
                    # What was offered may be another's by now; a session that ended is replaced.
                    if refused.code not in ("EXPIRED", "NOT_FOUND", "FENCED"):
                        raise
                    if refused.code != "FENCED":
                        self.session = Session(self.door)
                    continue
                if tasks:
                    self.attempt(tasks[0])
                elif exit_when_empty:
                    break
        finally:
            self.session.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("node", help="the door of a node, such as http://127.0.0.1:7201")
    parser.add_argument("--kind", action="append", default=[], help="only tasks of this kind; again for more")
    parser.add_argument("--project", default="default")
    parser.add_argument("--exit-when-empty", action="store_true", help="end once no task is ready")
    arguments = parser.parse_args()
    worker = Worker(Door(arguments.node, arguments.project), arguments.kind)

    def end(*_):
        # What is under way is finished first; who waits ends at once.
        if worker.ends or worker.waits:
            sys.exit(1 if worker.ends else 0)
        worker.ends = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    worker.run(arguments.exit_when_empty)


if __name__ == "__main__":
    main()
