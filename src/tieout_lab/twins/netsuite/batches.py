"""Asynchronous requests: jobs, tasks, results; batches of up to 100 records of one type; the idempotency key.

ASSUMED: a batch has one task per record, and the task's result is the answer the record's own request would get.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tieout_lab.twins.kit import Request, Response
from tieout_lab.twins.netsuite.errors import Refusal, unexpected
from tieout_lab.twins.netsuite.intake import read_body
from tieout_lab.twins.netsuite.records import base_url, page, page_bounds
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.values import encode, stamp

JOBS = "/services/rest/async/v1/job"
MOST = 100
KEY = "x-netsuite-idempotency-key"

Handle = Callable[[Request], Response]
Find = Callable[[str, str], tuple[Handle, dict[str, str]]]


@dataclass
class Task:
    """One record's request inside a job."""

    id: str
    request: Request
    handler: Handle | None
    response: Response | None = None
    start: datetime | None = None
    end: datetime | None = None

    @property
    def progress(self) -> str:
        if self.response is None:
            return "pending" if self.start is None else "processing"
        return "succeeded" if self.response.status < 400 else "failed"


@dataclass
class Job:
    """What one asynchronous request set going."""

    id: str
    created: datetime
    tasks: list[Task] = field(default_factory=list)
    lost: int = 0  # results that are never shown

    @property
    def completed(self) -> bool:
        return all(task.response is not None for task in self.tasks)

    @property
    def progress(self) -> str:
        kinds = {task.progress for task in self.tasks}
        if not self.completed:
            return "pending" if kinds == {"pending"} else "processing"
        return "failed" if "failed" in kinds else "succeeded"


def wants_async(request: Request) -> bool:
    """Whether the client prefers an asynchronous answer."""
    return "respond-async" in request.headers.get("prefer", "")


class Jobs:
    """Accepts asynchronous requests, runs them a little later, and answers for them."""

    def __init__(self, tenant: Tenant, later: Callable[[Awaitable[Any]], None]) -> None:
        self.tenant = tenant
        self.later = later
        self.jobs: dict[str, Job] = {}
        self.keys: dict[str, str] = {}

    def handlers(self) -> list[tuple[str, Handle]]:
        """Path and handler of what can be asked about jobs."""
        return [
            (JOBS + "/{job}", self.show),
            (JOBS + "/{job}/task/?", self.tasks),
            (JOBS + "/{job}/task/{task}", self.task),
            (JOBS + "/{job}/task/{task}/result", self.result),
        ]

    # -- accepting --------------------------------------------------------------------------------------------------
    def accept(self, request: Request, operation: str, handler: Handle, find: Find) -> Response:
        """202 with the job's Location; 400 IDEMPOTENCY_ERROR with the first job's where the key was used before."""
        key = request.headers.get(KEY)
        self._forget()
        if key is not None and key in self.keys:
            raise Refusal(
                "IDEMPOTENCY_ERROR",
                'A request with the same idempotency key is already submitted. See the "Location" header for a link '
                "to the previously submitted job",
                title="Conflict",
                headers={
                    "location": self._url(request, self.keys[key]),
                    "preference-applied": "respond-async",
                },
                header="X-NetSuite-Idempotency-Key",
            )
        preferences = self.tenant.preferences
        job = Job(str(self.tenant.state.next("job")), self.tenant.now(), lost=preferences.lost_results)
        if "type=collection" in request.headers.get("content-type", "").replace(" ", ""):
            job.tasks = self._split(request, find)
        elif operation.endswith(".batch"):
            job.tasks = self._ids(request, find)
        else:
            job.tasks = [Task("1", request, handler)]
        if preferences.shuffle_tasks:
            job.tasks = self._shuffled(job)
        self.jobs[job.id] = job
        if key is not None:
            self.keys[key] = job.id
        self.later(self._run(job))
        headers = {"location": self._url(request, job.id), "preference-applied": "respond-async"}
        return Response(202, b"", headers)

    def _forget(self) -> None:
        """Jobs are kept for a while (ASSUMED: their idempotency keys as long)."""
        since = self.tenant.now() - timedelta(hours=self.tenant.preferences.job_hours)
        self.jobs = {id_: job for id_, job in self.jobs.items() if job.created > since}
        self.keys = {key: id_ for key, id_ in self.keys.items() if id_ in self.jobs}

    def _shuffled(self, job: Job) -> list[Task]:
        """The tasks in another order, under ids that do not tell which record each is about."""
        draw = self.tenant.faults().draw
        order = sorted(job.tasks, key=lambda task: draw(f"task/{job.id}", int(task.id)))
        for task in order:
            task.id = str(self.tenant.state.next("task", 7001))
        return order

    def _split(self, request: Request, find: Find) -> list[Task]:
        if request.method == "DELETE":
            return self._ids(request, find)
        items = read_body(request).get("items")
        if not isinstance(items, list) or not items:
            raise Refusal(
                "INVALID_CONTENT", "Invalid content in the request body. items is missing.", path="items"
            )
        self._bounded(len(items))
        tasks = []
        for position, item in enumerate(items):
            if not isinstance(item, dict):
                raise Refusal("INVALID_CONTENT", "An object is expected.", path=f"items[{position}]")
            values = dict(item)
            path = request.path
            if request.method == "PATCH":
                path += f"/{values.pop('id', None) or 'eid:' + str(values.get('externalId'))}"
            elif request.method == "PUT":
                path += f"/eid:{values.pop('externalId', '')}"
            tasks.append(self._task(position, request, path, encode(values), find))
        return tasks

    def _ids(self, request: Request, find: Find) -> list[Task]:
        ids = [id_.strip() for id_ in (request.q("ids") or "").split(",") if id_.strip()]
        if request.method != "DELETE" or not ids:
            raise Refusal("INVALID_PARAMETER", "Provide the records to delete.", query="ids")
        self._bounded(len(ids))
        return [self._task(n, request, f"{request.path}/{id_}", b"", find) for n, id_ in enumerate(ids)]

    def _bounded(self, count: int) -> None:
        if count > MOST:
            raise Refusal(
                "INVALID_CONTENT", f"A batch holds at most {MOST} records, but has {count}.", path="items"
            )

    def _task(self, position: int, request: Request, path: str, body: bytes, find: Find) -> Task:
        try:
            handler, params = find(request.method, path)
        except Refusal as refusal:
            return Task(str(position + 1), request, None, refusal.response())
        headers = {**request.headers, "content-type": "application/json"}
        each = replace(request, path=path, headers=headers, body=body, params=params)
        return Task(str(position + 1), each, handler)

    # -- running ----------------------------------------------------------------------------------------------------
    async def _run(self, job: Job) -> None:
        preferences = self.tenant.preferences
        await self.tenant.clock.sleep(preferences.batch_seconds)
        for number, task in enumerate(job.tasks):
            if preferences.record_seconds and number % preferences.processors == 0:
                await self.tenant.clock.sleep(preferences.record_seconds)
            if task.handler is not None:
                self._work(task, task.handler)

    def _work(self, task: Task, handler: Handle) -> None:
        task.start = self.tenant.now()
        faults = self.tenant.faults()
        if faults.chance("partial_batch", faults.partial_batch):
            task.response = unexpected()
        else:
            try:
                task.response = handler(task.request)
            except Refusal as refusal:
                task.response = refusal.response()
            except (LookupError, ValueError, msgspec.MsgspecError):
                task.response = unexpected()
        task.end = self.tenant.now()

    # -- answering --------------------------------------------------------------------------------------------------
    def _url(self, request: Request, job: str) -> str:
        return f"{base_url(request)}{JOBS}/{job}"

    def _job(self, request: Request) -> Job:
        self._forget()
        job = self.jobs.get(request.params["job"])
        if job is None:
            raise Refusal("NONEXISTENT_ID", "The job does not exist.", status=404, url=request.path)
        return job

    def _one(self, request: Request) -> Task:
        found = next((task for task in self._job(request).tasks if task.id == request.params["task"]), None)
        if found is None:
            raise Refusal("NONEXISTENT_ID", "The task does not exist.", status=404, url=request.path)
        return found

    def show(self, request: Request) -> Response:
        """GET job/{id}."""
        job = self._job(request)
        url = self._url(request, job.id)
        return Response(
            200,
            {
                "links": [{"rel": "self", "href": url}],
                "completed": job.completed,
                "id": job.id,
                "progress": job.progress,
                "task": {"links": [{"rel": "self", "href": f"{url}/task"}]},
            },
        )

    def tasks(self, request: Request) -> Response:
        """GET job/{id}/task: the tasks of a job, paged like any collection."""
        job = self._job(request)
        limit, offset = page_bounds(request)
        url = f"{self._url(request, job.id)}/task"
        items = [
            {"links": [{"rel": "self", "href": f"{url}/{task.id}"}], "id": task.id}
            for task in job.tasks[offset : offset + limit]
        ]
        return Response(200, page(request, f"{JOBS}/{job.id}/task", items, len(job.tasks)))

    def task(self, request: Request) -> Response:
        """GET job/{id}/task/{task}."""
        task = self._one(request)
        url = f"{self._url(request, request.params['job'])}/task/{task.id}"
        body: dict[str, Any] = {
            "links": [{"rel": "related", "href": f"{url}/result"}, {"rel": "self", "href": url}],
            "completed": task.response is not None,
            "id": task.id,
            "progress": task.progress,
        }
        for name, moment in (("startTime", task.start), ("endTime", task.end)):
            if moment is not None:
                body[name] = stamp(moment)
        return Response(200, body)

    def result(self, request: Request) -> Response:
        """GET job/{id}/task/{task}/result: the answer of the record's own request."""
        task = self._one(request)
        job = self._job(request)
        if task.response is None or task in job.tasks[: job.lost]:
            raise Refusal("NONEXISTENT_ID", "The result is not available yet.", status=404, url=request.path)
        return task.response
