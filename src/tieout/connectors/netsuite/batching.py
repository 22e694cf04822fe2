"""Making many documents by one asynchronous batch: `BulkWriter`.

A batch is one call; its job is asked after until it is completed; then one query by our keys tells what stands. What a
completed job refused is told by the results of its tasks, which carry no key of ours: when there are as many definite
refusals as keys that are missing, each of those was refused and nothing was done for it, and only then is it said so -
in the words of the refusal where they are the same for all, else by sending each by itself. Where the account does not
enforce our keys there is no bulk: for a queue the vendor names no longest execution, so absence would prove nothing.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from tieout.canonical.outcome import (
    Confirmed,
    Failure,
    Misconfigured,
    OutcomeUnknown,
    Rejected,
    SendOutcome,
    Transient,
)
from tieout.canonical.write import Write
from tieout.connectors.contract import Keys, World
from tieout.connectors.http import BadBody
from tieout.connectors.netsuite.codes import UnknownCode
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.looking import kind_of
from tieout.connectors.netsuite.mapping import RECORD
from tieout.connectors.netsuite.refusals import (
    CHANGED_MEANWHILE,
    CONCURRENCY,
    DUPLICATE,
    KEY_USED,
    Refusal,
    refusal,
)
from tieout.connectors.netsuite.wire import IdPage, Job, Structs, read
from tieout.connectors.netsuite.writing import Prepared, Writing
from tieout.ports import Response, TransportError

JOBS = "/services/rest/async/v1/job/"
KEYS = uuid.UUID(
    "6f0a6c3e-6d0b-5b0e-9a57-7d4a3c1f2b10"
)  # the space of our idempotency keys, which must be UUIDs
SLOWEST_POLL_SECONDS = 15.0
PATIENCE = 1.5  # each wait is so much longer than the one before
Item = tuple[Write, Keys]


class Batching(Writing):
    """`BulkWriter` of the connection."""

    def __init__(self, name: str, config: NetSuiteConfig, world: World) -> None:
        super().__init__(name, config, world)
        self.batch_sizes: Mapping[str, int] = batch_sizes(config)

    async def send_many(self, operation: str, items: Sequence[Item], batch: str) -> Mapping[str, SendOutcome]:
        """Make many documents by one batch, at most `batch_sizes[operation]` (ValueError). Answers by document key; a
        missing one is unknown. The same `batch` is the same job, however often it is sent."""
        if len(items) > self.batch_sizes.get(operation, 0):
            raise ValueError(f"{len(items)} in a batch of {operation}: {self.batch_sizes.get(operation, 0)}")
        answer: dict[str, SendOutcome] = {}
        sent: list[Item] = []
        records: list[Prepared] = []
        for write, keys in items:
            try:
                records.append(await self._prepare(write, keys))
                sent.append((write, keys))
            except (UnknownCode, Failure) as error:
                answer[keys.document] = error.outcome
        if sent:
            answer.update(await self._batch(operation, sent, records, batch))
        return answer

    async def _batch(
        self, operation: str, sent: list[Item], records: list[Prepared], batch: str
    ) -> dict[str, SendOutcome]:
        kind = kind_of(sent[0][0])
        query = records[0].path.partition("?")[2]
        bodies: list[Mapping[str, object]] = [
            {**record.body, "externalId": keys.document}
            for record, (_, keys) in zip(records, sent, strict=True)
        ]
        # The vendor wants a UUID; the batch must always have the same.
        digest = hashlib.sha256(f"{self.name}|{batch}".encode()).digest()
        key = str(uuid.UUID(bytes=digest[:16], version=5))
        until_seconds = self.client.http.world.clock.monotonic() + self.config.batch_seconds
        try:
            response = await self.client.submit(
                records[0].method,
                f"{RECORD[kind]}?{query}" if query else RECORD[kind],
                bodies,
                key,
                operation=f"batch.{operation}",
            )
        except Failure as error:
            return _all(sent, error.outcome)
        except TransportError as error:
            return _known(_all(sent, self.client.http.send_failed(error)))
        said = refusal(response)
        job = job_id(response) if response.status == 202 or said.code in KEY_USED else ""
        if job:
            return await self._follow(operation, sent, job, until_seconds)
        if response.status < 300 or said.code in KEY_USED:
            return {}
        return _known(await self._refused_whole(sent, response, said))

    async def _refused_whole(
        self, sent: list[Item], response: Response, said: Refusal
    ) -> dict[str, SendOutcome]:
        """The batch was not taken: nothing was done for any of it. Where the vendor points at items of the request, it
        is those that are refused; the others go again."""
        outcome = await self.refused(None, response, said)
        if not isinstance(outcome, Rejected):
            return _all(sent, outcome)
        named = {int(found[1]) for path in said.paths if (found := re.match(r"items\[(\d+)\]", path))}
        if not named or max(named) >= len(sent):
            message = f"batches are refused: {outcome.code} {outcome.message}"
            remedy = f"set batch_size = 0 of {self.name}: documents are then sent one by one"
            blocked = Misconfigured(scope="connection", key=self.name, message=message, remedy=remedy)
            return _all(sent, blocked)
        again = Transient(reason="another document of its batch was refused")
        return {keys.document: outcome if place in named else again for place, (_, keys) in enumerate(sent)}

    # -- the job --------------------------------------------------------------------------------------------------
    async def _follow(
        self, operation: str, sent: list[Item], job: str, until_seconds: float
    ) -> dict[str, SendOutcome]:
        """What came of a batch that was taken. After the deadline: what stands so far."""
        ended = await self._completed(job, until_seconds)
        try:
            found = await self.by_query(sent)
        except Failure:
            return {}
        answer: dict[str, SendOutcome] = {key: Confirmed(receipt=one.receipt) for key, one in found.items()}
        missing = [(write, keys) for write, keys in sent if keys.document not in answer]
        if ended is not None and ended.progress == "failed" and missing:
            answer.update(await self._refusals(operation, missing, len(sent), job))
        return answer

    async def _completed(self, job: str, until_seconds: float) -> Job | None:
        """The job once it is completed; None when it is not by the deadline, or cannot be asked after."""
        clock = self.client.http.world.clock
        wait_seconds = self.config.job_poll_seconds * 1.0
        while clock.monotonic() < until_seconds:
            try:
                response = await self.client.look(JOBS + job, operation="batch.job")
                if response.status == 404:
                    return None
                answer = read(Structs.job, response.body) if response.status == 200 else Job()
                if answer.completed:
                    return answer
            except Failure as error:
                if isinstance(error.outcome, Misconfigured):
                    return None
            except BadBody:
                pass
            await clock.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * PATIENCE, SLOWEST_POLL_SECONDS)
        return None

    async def _refusals(
        self, operation: str, missing: list[Item], sent: int, job: str
    ) -> dict[str, SendOutcome]:
        """What a completed job refused. Empty when the results do not account for every missing document."""
        said: list[tuple[Response, Refusal]] = []
        try:
            tasks = await self._tasks(job)
            if len(tasks) != sent:
                return {}
            async for response, one in self._definite(job, tasks):
                said.append((response, one))
                if len(said) == len(missing):
                    break
        except Failure:
            return {}
        if len(said) < len(missing):
            return {}
        if len({(one.code, one.message) for _, one in said}) == 1:
            response, one = said[0]
            return _known(
                {keys.document: await self.refused(write, response, one) for write, keys in missing}
            )
        return _known({keys.document: await self.send(operation, write, keys) for write, keys in missing})

    async def _definite(self, job: str, tasks: list[str]) -> AsyncIterator[tuple[Response, Refusal]]:
        """The definite refusals among the results of a job, in whatever order. Raises Failure."""
        for task in tasks:
            path = f"{JOBS}{job}/task/{task}/result"
            response = await self.client.look(path, operation="batch.result")
            if not response.body:
                continue
            said = refusal(response)
            # Only what a document itself is refused for: anything else may be this reading's own. A duplicate stands.
            if (
                said.code
                and 400 in (response.status, said.status)
                and said.code not in DUPLICATE | CONCURRENCY | CHANGED_MEANWHILE
            ):
                yield msgspec.structs.replace(response, status=400), said

    async def _tasks(self, job: str) -> list[str]:
        """The ids of a job's tasks, every page. Raises Failure."""
        ids: list[str] = []
        while True:
            path = f"{JOBS}{job}/task?limit={self.config.page_size}&offset={len(ids)}"
            response = await self.client.look(path, operation="batch.tasks")
            try:
                page = read(Structs.ids, response.body) if response.status == 200 else IdPage(has_more=True)
            except BadBody:
                page = IdPage(has_more=True)
            some = [str(one.id) for one in page.items]
            if set(some) & set(ids) or (page.has_more and not some):
                raise Failure(Transient(reason="the tasks of a job cannot be listed"))
            ids += some
            if not page.has_more:
                return ids


def batch_sizes(config: NetSuiteConfig) -> dict[str, int]:
    """Most documents of a batch, by operation. A transformation is a call of its own."""
    if not config.enforce_keys or not config.batch_size:
        return {}
    operations = ["customer.create", "invoice.create", "payment.create", "refund.create", "journal.create"]
    if not config.transform_credits:
        operations.append("credit_memo.create")
    return dict.fromkeys(operations, config.batch_size)


def job_id(response: Response) -> str:
    """The id of the job that Location names, or empty."""
    path = response.headers.get("location", "").rstrip("/")
    _, found, job = path.rpartition(JOBS)
    return job if found and re.fullmatch(r"[\w-]+", job) else ""


def _all(sent: list[Item], outcome: SendOutcome) -> dict[str, SendOutcome]:
    return {keys.document: outcome for _, keys in sent}


def _known(answer: dict[str, SendOutcome]) -> dict[str, SendOutcome]:
    """Without those that are unknown, which is what a missing answer says."""
    return {key: one for key, one in answer.items() if not isinstance(one, OutcomeUnknown)}
