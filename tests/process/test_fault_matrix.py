"""Every call of the flows with every fault: a sample of the matrix; the whole is `make fault-matrix`."""

from __future__ import annotations

import pytest

from tests.process.disturbed import Seen, Trouble, disturb
from tests.process.fault_matrix import Count, attempt, cells, kinds, page, sample, undisturbed, users, worlds
from tests.simulation.bugs import plant
from tieout_lab.twins.faults import CALL_FAULTS

SAMPLE = 36
# What a connector can write and no flow of ours does, and why.
NOT_IN_A_FLOW = {
    ("netsuite", "credit_memo.post"): "the twin's account holds nothing but invoices for approval"
}
# What is not survived, and why: `docs/simulation.md`.
KNOWN = {(("events", "invoice_payment.detached", ""), "drop")}


def _survives(given):
    for cell in given:
        if cell in KNOWN:
            continue
        for course, trouble in worlds(cell, 1):
            fired, wrong = attempt((course, trouble))
            assert wrong == ""
            assert fired or trouble.kind == "reorder", f"{trouble} never happened in {course}"


@pytest.mark.parametrize("part", range(3))
def test_a_sample_of_the_matrix_is_survived(part):
    _survives(sample(SAMPLE)[part::3])


def test_every_write_of_every_connector_is_a_row():
    calls = {(twin, name.removeprefix("batch.")) for twin, name, _ in users()}
    declared = undisturbed("posted").declared
    assert len(declared) > 8
    assert {one for one in declared if one not in calls} == set(NOT_IN_A_FLOW)


def test_every_fault_of_the_kit_is_a_column():
    found = {kind for call, kind in cells() if call[0] == "netsuite"}
    assert found == {*CALL_FAULTS, "partial"}
    assert all(set(kinds(call)) >= set(CALL_FAULTS) for call in users() if call[0] != "events")


def test_a_hub_that_takes_cut_off_for_unsent_does_not_survive():
    invoices = ("netsuite", "invoice.create", "invoice.create")
    trouble = Trouble(invoices, "timeout_after_work", loose=True)
    assert attempt(("posted", trouble)) == (1, "")
    with plant("cancellation_taken_for_unsent") as change:
        seen: Seen = disturb("posted", trouble, change)
    assert seen.fired == 1
    assert seen.books != undisturbed("posted").books


def test_a_hub_that_parks_what_came_too_fast_does_not_survive():
    trouble = Trouble(("netsuite", "customer.create", "customer.upsert"), "rate_limited")
    with plant("limit_taken_for_a_refusal") as change:
        seen = disturb("posted", trouble, change)
    assert seen.waiting != undisturbed("posted").waiting == []


def test_the_page_tells_what_was_not_survived():
    cell = (("netsuite", "invoice.create", "invoice.create"), "late")
    text = page({cell: Count(tried=3, met=2, fired=4, survived=1, wrong=["two of one"])}, 1)
    assert "| invoice.create | invoice.create |" in text
    assert " 1/2 |" in text
    assert "- two of one" in text
    assert "2 of them, 1 survived" in text


@pytest.mark.soak
@pytest.mark.parametrize("part", range(12))
def test_the_whole_matrix_is_survived(part):
    for cell in cells()[part::12]:
        for world in worlds(cell):
            assert (attempt(world)[1] != "") == (cell in KNOWN), world
