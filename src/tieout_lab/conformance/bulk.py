"""Bulk: each item has its own outcome, found by what the vendor says of it and never by its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from tieout.canonical.outcome import Confirmed, Found, OutcomeUnknown, Rejected, SendOutcome
from tieout.canonical.write import Write
from tieout.connectors.contract import Assignment, BulkAssigner, BulkWriter, Keys
from tieout.ports import Request, Response
from tieout_lab.conformance.case import Case, Ground
from tieout_lab.conformance.reads import altered
from tieout_lab.conformance.world import RecordingTransport, Served

SIZE = 5
REFUSED = 2  # the place of the refused item
Items = Sequence[tuple[Write, Keys]]


def listed(change: Callable[[list[Any]], list[Any]]) -> Callable[[Any], Any]:
    """Every list of as many objects as the batch has items is changed, at whatever depth."""

    def walk(value: Any) -> Any:
        if isinstance(value, list) and len(value) == SIZE and all(isinstance(one, dict) for one in value):
            return change([walk(one) for one in value])
        if isinstance(value, dict):
            return {name: walk(one) for name, one in value.items()}
        return [walk(one) for one in value] if isinstance(value, list) else value

    return walk


def reading(change: Callable[[Any], Any]) -> Callable[[Request, Response], Response]:
    def applied(_: Request, answer: Response) -> Response:
        return altered(answer, change) if answer.status < 300 else answer

    return applied


def shuffled(items: list[Any]) -> list[Any]:
    return [*items[1:], items[0]]


def no_better_than(outcomes: Mapping[str, SendOutcome], truth: Mapping[str, bool]) -> None:
    """What was not done is not confirmed, what was done is not refused; a missing answer is unknown."""
    assert outcomes.keys() <= truth.keys(), "an answer under a key that is not ours"
    for key, outcome in outcomes.items():
        if isinstance(outcome, Confirmed):
            assert truth[key], f"{key} is called done, and is not"
        elif not isinstance(outcome, OutcomeUnknown):
            assert not truth[key], f"{key} is called refused ({outcome}), and is done"


class Bulk(Ground):
    """`BulkAssigner` and `BulkWriter`, where the connector has them."""

    def _assignments(self, case: Case, connection: Any, *, refused: bool) -> list[Assignment]:
        if not isinstance(connection, BulkAssigner):
            pytest.skip(f"{case.name}: no bulk assign")
        assert connection.most_assigns >= SIZE
        made = [case.given("assignment")(number) for number in range(SIZE)]
        if refused:
            made[REFUSED] = case.given("refused_assignment")(REFUSED)
        assert len({one.keys.effect for one in made}) == SIZE
        return made

    async def _truth(self, case: Case, connection: Any, made: list[Assignment]) -> dict[str, bool]:
        assigned = case.given("assigned")
        return {one.keys.effect: await assigned(connection, one) for one in made}

    @pytest.mark.asyncio
    async def test_assigns_of_a_batch(self, case: Case, connection: Any) -> None:
        made = self._assignments(case, connection, refused=False)
        outcomes = await connection.assign_many(made)
        assert outcomes.keys() == {one.keys.effect for one in made}
        assert all(isinstance(outcome, Confirmed) for outcome in outcomes.values()), outcomes
        assert all((await self._truth(case, connection, made)).values())

    @pytest.mark.asyncio
    async def test_one_refused_assign_undoes_no_other(self, case: Case, connection: Any) -> None:
        made = self._assignments(case, connection, refused=True)
        outcomes = await connection.assign_many(made)
        truth = await self._truth(case, connection, made)
        assert list(truth.values()) == [number != REFUSED for number in range(SIZE)]
        assert isinstance(outcomes[made[REFUSED].keys.effect], Rejected)
        no_better_than(outcomes, truth)

    @pytest.mark.parametrize("change", [shuffled, lambda items: items[:-1], lambda items: [*items[:-1], items[0]]],
                             ids=["reordered", "missing", "repeated"])  # fmt: skip
    @pytest.mark.asyncio
    async def test_assign_results_that_are_disordered_mislead_nobody(
        self,
        case: Case,
        connection: Any,
        transport: RecordingTransport,
        change: Callable[[list[Any]], list[Any]],
    ) -> None:
        made = self._assignments(case, connection, refused=True)
        transport.change = reading(listed(change))
        outcomes = await connection.assign_many(made)
        transport.change = None
        no_better_than(outcomes, await self._truth(case, connection, made))

    @pytest.mark.parametrize(
        "kind", ["error_after", "reset", "cut", "timeout_after_work", "html", "malformed"]
    )
    @pytest.mark.asyncio
    async def test_assign_batch_without_an_answer_is_all_in_doubt(
        self, case: Case, served: Served, connection: Any, kind: str
    ) -> None:
        made = self._assignments(case, connection, refused=False)
        served.fail(kind)
        outcomes = await connection.assign_many(made)
        served.faults()
        assert not [one for one in outcomes.values() if isinstance(one, Confirmed)]
        no_better_than(outcomes, await self._truth(case, connection, made))

    @pytest.mark.asyncio
    async def test_assign_batch_after_the_session_ended(
        self, case: Case, served: Served, connection: Any
    ) -> None:
        made = self._assignments(case, connection, refused=False)
        case.given("expire")(served)
        outcomes = await connection.assign_many(made)
        assert outcomes
        assert all(isinstance(outcome, Confirmed) for outcome in outcomes.values()), outcomes

    # -- creates --------------------------------------------------------------------------------------------------
    async def _items(self, case: Case, connection: Any, *, refused: bool) -> list[tuple[str, Items]]:
        if not isinstance(connection, BulkWriter) or not connection.batch_sizes:
            pytest.skip(f"{case.name}: no bulk create")
        batches: list[tuple[str, Items]] = []
        for operation, make in case.given("bulk").items():
            if operation not in connection.batch_sizes:
                continue
            assert connection.batch_sizes[operation] >= SIZE
            items = [await make(connection, number) for number in range(SIZE)]
            if refused:
                makes = case.given("refused_bulk")
                assert operation in makes, f"no refused item of {operation}: give it in `refused_bulk`"
                items[REFUSED] = await makes[operation](connection, REFUSED)
            assert len({keys.document for _, keys in items}) == SIZE
            batches.append((operation, items))
        assert batches, f"no item for any of {', '.join(connection.batch_sizes)}: give `bulk`"
        return batches

    async def _stands(self, connection: Any, operation: str, items: Items) -> dict[str, bool]:
        now = datetime.now(UTC)
        found = await connection.find_many(operation, [(write, keys, now) for write, keys in items])
        assert all(not one.others for one in found.values() if isinstance(one, Found)), "made twice"
        return {keys.document: isinstance(found.get(keys.document), Found) for _, keys in items}

    @pytest.mark.asyncio
    async def test_batch_sent_again_makes_each_document_once(self, case: Case, connection: Any) -> None:
        for operation, items in await self._items(case, connection, refused=False):
            first = await connection.send_many(operation, items, f"{operation}#1")
            assert all(isinstance(outcome, Confirmed) for outcome in first.values()), first
            assert first.keys() == {keys.document for _, keys in items}
            again = await connection.send_many(operation, items, f"{operation}#1")
            ids = {key: one.receipt.external_id for key, one in first.items()}
            for key, outcome in again.items():
                assert not isinstance(outcome, Rejected), outcome
                if isinstance(outcome, Confirmed):
                    assert outcome.receipt.external_id == ids[key]
            assert all((await self._stands(connection, operation, items)).values())

    @pytest.mark.asyncio
    async def test_one_refused_create_undoes_no_other(self, case: Case, connection: Any) -> None:
        for operation, items in await self._items(case, connection, refused=True):
            outcomes = await connection.send_many(operation, items, f"{operation}#2")
            truth = await self._stands(connection, operation, items)
            assert list(truth.values()) == [number != REFUSED for number in range(SIZE)]
            no_better_than(outcomes, truth)

    @pytest.mark.parametrize("change", [shuffled, lambda items: items[:-1], lambda items: [*items[:-1], items[0]]],
                             ids=["reordered", "missing", "repeated"])  # fmt: skip
    @pytest.mark.asyncio
    async def test_create_results_that_are_disordered_mislead_nobody(
        self,
        case: Case,
        connection: Any,
        transport: RecordingTransport,
        change: Callable[[list[Any]], list[Any]],
    ) -> None:
        for operation, items in await self._items(case, connection, refused=True):
            transport.change = reading(listed(change))
            outcomes = await connection.send_many(operation, items, f"{operation}#3")
            transport.change = None
            truth = await self._stands(connection, operation, items)
            no_better_than(outcomes, truth)
            ids = [one.receipt.external_id for one in outcomes.values() if isinstance(one, Confirmed)]
            assert len(ids) == len(set(ids)), "one document answers for two"

    @pytest.mark.parametrize(
        "kind", ["error_after", "reset", "cut", "timeout_after_work", "html", "malformed"]
    )
    @pytest.mark.asyncio
    async def test_create_batch_without_an_answer_is_all_in_doubt(
        self, case: Case, served: Served, connection: Any, kind: str
    ) -> None:
        for operation, items in await self._items(case, connection, refused=False):
            served.fail(kind)
            outcomes = await connection.send_many(operation, items, f"{operation}#4")
            served.faults()
            assert not [one for one in outcomes.values() if isinstance(one, Confirmed)]
            no_better_than(outcomes, await self._stands(connection, operation, items))
