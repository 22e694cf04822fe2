"""Probes of what NetSuite does with sign-in that does not hold, with asynchronous batches, and with transformations."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from tieout.canonical.outcome import Failure, Rejected, Transient
from tieout.connectors.contract import Verdict, seen, untestable
from tieout.connectors.netsuite.batching import JOBS, job_id
from tieout.connectors.netsuite.client import READING, RECORDS, text
from tieout.connectors.netsuite.probing import Documents
from tieout.connectors.netsuite.refusals import KEY_USED, login_error, refusal
from tieout.connectors.netsuite.signin import signer
from tieout.connectors.netsuite.wire import Structs, read
from tieout.ports import Response, TransportError

MOST = 100
NO_SUBSIDIARY = "999999999"
POSTED = (
    "SELECT a.acctnumber, a.accttype FROM transactionaccountingline tal JOIN account a ON a.id = tal.account"
    " WHERE tal.posting = 'T' AND tal.transaction = {id}"
)


class Batch(msgspec.Struct, frozen=True):
    """A batch of two good customers and a refused one: what its record alone was refused with, the answer, the job's
    tasks and their results."""

    key: str
    items: list[Mapping[str, Any]]
    alone: str
    job: str
    results: list[Response]


class BatchProbes(Documents):
    """Probes over customers of one run."""

    _batched: Batch | None = None

    # -- sign-in ----------------------------------------------------------------------------------------------------
    async def _raw(self, authorization: str, method: str, path: str) -> Response:
        """One call under an authorization of the caller's choice. Raises Failure."""
        http = self._client.client.http
        try:
            return await http.exchange(
                method,
                self._config.base + path,
                headers={**READING, "authorization": authorization},
                body=b"",
                operation="certify.raw",
                timeout_seconds=self._config.timeout_seconds,
            )
        except TransportError as error:
            http.read_failed(error)

    async def _login_header(self) -> Verdict:
        response = await self._raw("Bearer none", "GET", f"{RECORDS}customer?limit=1")
        error = login_error(response)
        shown = response.headers.get("www-authenticate", "(none)")[:80]
        told = f"a token that never was: {response.status}, WWW-Authenticate {shown}"
        return seen(response.status == 401 and bool(error), told)

    async def _nonce(self) -> Verdict:
        if self._config.sign_in != "tba":
            return untestable("this connection signs in by OAuth 2.0: its calls carry no nonce")
        path = f"{RECORDS}customer?limit=1"
        signing = signer(self._client.client.http, self._config)
        authorization = await signing.authorization("GET", self._config.base + path)
        answers = [await self._raw(authorization, "GET", path) for _ in range(2)]
        if answers[0].status != 200:
            return untestable(
                f"the first call is answered with {answers[0].status} {login_error(answers[0])}"
            )
        told = f"one signature, two calls: 200, then {answers[1].status} {login_error(answers[1])}"
        return seen(answers[1].status == 401, told.strip())

    # -- batches ----------------------------------------------------------------------------------------------------
    async def _submit(self, items: list[Mapping[str, Any]], key: str) -> Response:
        """Raises Failure."""
        try:
            return await self._client.client.submit("POST", "customer", items, key, operation="certify")
        except TransportError as error:
            self._client.client.http.read_failed(error)

    def _bodies(self) -> list[Mapping[str, Any]]:
        good = self._subsidiary()
        return [
            {**self._customer_body(where, f"batch {n}"), "externalId": f"CERTIFY-{self._run}-B{n}"}
            for n, where in enumerate((good, NO_SUBSIDIARY, good))
        ]

    async def _customers(self) -> list[str]:
        """The ids of the batch's customers, which are deleted at the end."""
        keys = ", ".join(text(str(body["externalId"])) for body in self._bodies())
        rows = await self._client.rows(f"SELECT id FROM customer WHERE externalid IN ({keys})")
        ids = [str(row["id"]) for row in rows]
        for id in ids:
            if ("customer", f"customer/{id}") not in self._made:
                self._made.append(("customer", f"customer/{id}"))
        return ids

    async def _batch(self) -> Batch:
        """Raises Failure, also where the batch is not taken."""
        if self._batched is None:
            items = self._bodies()
            response = await self._client.record("POST", "customer", items[1])
            self._note("customer of no subsidiary", "customer", response)
            said = refusal(response)
            if response.status != 400:
                message = f"a customer of no subsidiary is not refused: {response.status}"
                raise Failure(Rejected(code="not_refused", message=message))
            key = str(uuid.UUID(bytes=self._world.chance.token(16), version=4))
            taken = await self._submit(items, key)
            job = job_id(taken) if taken.status == 202 else ""
            if not job:
                words = refusal(taken)
                message = f"a batch of three is not taken: {taken.status} {words.code} {words.message}"
                raise Failure(Rejected(code=words.code or "not_taken", message=message))
            try:
                await self._completed(job)
                results = await self._results(job)
            finally:
                await self._customers()
            self._batched = Batch(key=key, items=items, alone=said.code, job=job, results=results)
        return self._batched

    async def _completed(self, job: str) -> None:
        clock = self._world.clock
        until_seconds = clock.monotonic() + self._config.batch_seconds
        while clock.monotonic() < until_seconds:
            response = await self._client.client.look(JOBS + job, operation="certify.job")
            if response.status == 200 and read(Structs.job, response.body).completed:
                return
            await clock.sleep(self._config.job_poll_seconds)
        reason = f"a batch of three is not completed in {self._config.batch_seconds} s"
        raise Failure(Transient(reason=reason))

    async def _results(self, job: str) -> list[Response]:
        """The result of each task of a job."""
        look = self._client.client.look
        listed = await look(f"{JOBS}{job}/task?limit=100", operation="certify.tasks")
        tasks = [str(one.id) for one in read(Structs.ids, listed.body).items]
        return [await look(f"{JOBS}{job}/task/{task}/result", operation="certify.result") for task in tasks]

    async def _batch_tasks(self) -> Verdict:
        batch = await self._batch()
        tasks = len(batch.results)
        return seen(tasks == len(batch.items), f"a batch of {len(batch.items)} records: {tasks} tasks")

    async def _batch_results(self) -> Verdict:
        batch = await self._batch()
        made = len(await self._customers())
        told: list[str] = []
        refused = done = 0
        for response in batch.results:
            said = refusal(response) if response.body else None
            if said is not None and 400 in (response.status, said.status):
                refused += said.code == batch.alone
                told.append(said.code)
            else:
                done += 200 <= response.status < 300
                told.append(str(response.status))
        shown = f"alone the record is refused as {batch.alone}; results of the batch: {', '.join(told)}"
        return seen(refused == 1 and made == done == 2, f"{shown}; customers made: {made}")

    async def _batch_key(self) -> Verdict:
        batch = await self._batch()
        again = await self._submit(batch.items, batch.key)
        said = refusal(again)
        second = job_id(again)
        if again.status == 202 and second and second != batch.job:
            try:
                await self._completed(second)
            finally:
                await self._customers()
        same = "the first job" if second == batch.job else f"job {second}" if second else "none"
        told = (
            f"the same key again: {again.status} {said.code if again.status >= 300 else ''}, Location: {same}"
        )
        held = again.status == 400 and said.code in KEY_USED and second == batch.job
        return seen(held, told.replace(" ,", ","))

    async def _batch_size(self) -> Verdict:
        """Every record of it would be refused by itself, which does not keep a batch from being taken."""
        await self._batch()
        items: list[Mapping[str, Any]] = [
            {**self._customer_body(NO_SUBSIDIARY, str(n)), "externalId": f"CERTIFY-{self._run}-S{n}"}
            for n in range(MOST + 1)
        ]
        key = str(uuid.UUID(bytes=self._world.chance.token(16), version=4))
        response = await self._submit(items, key)
        said = refusal(response)
        told = (
            f"{response.status} {said.code} {said.message}"
            if response.status >= 300
            else str(response.status)
        )
        return seen(response.status == 400, f"a batch of {MOST + 1}, one of three being taken: {told}")

    # -- documents --------------------------------------------------------------------------------------------------
    async def _item_account(self) -> Verdict:
        invoice = await self._invoice()
        items = await self._catalogue.code_tables.table("item")
        item, id = next(iter(items.ids.items()))
        expected = await self._catalogue.code_tables.posting_account(id)
        kind = "deferred revenue" if items.rows[id].get("deferredrevenueaccount") else "income"
        rows = await self._client.rows(POSTED.format(id=invoice))
        if not rows:
            return untestable("the invoice shows no posting")
        posted = sorted({str(row["acctnumber"]) for row in rows if row.get("accttype") != "AcctRec"})
        told = f"item {item} has {kind} account {expected}; its invoice posts to {', '.join(posted)}"
        return seen(expected in posted, told)

    async def _transformed(self) -> Verdict:
        """An invoice of 100 becomes a credit memo of one line of 40, applied with 40."""
        body = await self._invoice_body("X")
        invoice = await self._make("invoice", "invoice", body)
        line = {**body["item"]["items"][0], "quantity": 1, "amount": 40}
        wanted = {
            "externalId": f"CERTIFY-{self._run}-M",
            "tranDate": body["tranDate"],
            "item": {"items": [line]},
            "taxDetailsOverride": True,
            "taxDetails": {"items": []},
            "apply": {"items": [{"doc": {"id": invoice}, "apply": True, "amount": 40}]},
        }
        path = f"invoice/{invoice}/!transform/creditMemo?replace=item,taxDetails,apply"
        response = await self._client.record("POST", path, wanted)
        memo = self._note("credit memo", "creditMemo", response)
        if not memo:
            said = refusal(response)
            return untestable(f"not transformed: {response.status} {said.code} {said.message}")
        shown = await self._client.shown(f"creditMemo/{memo}?expandSubResources=true")
        amounts = [whole(one.get("amount")) for one in (shown.get("item") or {}).get("items") or []]
        applied = {
            str(one["doc"]["id"]): whole(one.get("amount"))
            for one in (shown.get("apply") or {}).get("items") or []
            if one.get("apply")
        }
        told = (
            f"an invoice of 100 replaced by one line of 40: lines {amounts}, applied {list(applied.values())}"
        )
        return seen(amounts == ["40"] and applied == {invoice: "40"}, told)


def whole(amount: object) -> str:
    """`40`, `40.0` and `40.00` are one amount."""
    shown = str(amount)
    return shown.rstrip("0").rstrip(".") if "." in shown else shown
