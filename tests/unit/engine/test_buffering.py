"""Which buffers are refused: whatever could lose an event that it has acknowledged."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tieout.engine.buffering import OVERHEAD_BYTES, syncs_always, unsafe_facts
from tieout.ports import BufferFacts, Response, TransportError
from tieout.settings import Buffer, ConfigurationError, SettingsFile

GOOD = BufferFacts(
    stream="tieout-demo",
    copies=3,
    storage="file",
    discard="new",
    retention="workqueue",
    most_age_seconds=0,
    most_bytes=1_048_576,
    leader="n1",
    server_id="ID1",
)


def judged(*, synced="", monitored=False, unsafe=False, body=1_000_000, **changed):
    facts = msgspec.structs.replace(GOOD, **changed)
    return unsafe_facts(facts, synced=synced, most_body_bytes=body, unsafe=unsafe, monitored=monitored)


def test_three_copies_on_disk_that_keep_everything_are_taken():
    assert judged() == []


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"copies": 1}, "num_replicas = 3"),
        ({"copies": 2}, "power cut"),
        ({"storage": "memory"}, "storage = file"),
        ({"discard": "old"}, "discard = new"),
        ({"retention": "limits"}, "retention = workqueue"),
        ({"retention": "interest"}, "retention = workqueue"),
        ({"most_age_seconds": 86_400.0}, "max_age = 0"),
        ({"most_bytes": 1_000_000 + OVERHEAD_BYTES - 1}, "max_body_bytes"),
    ],
)
def test_each_way_of_losing_an_event_is_refused_with_its_remedy(changed, word):
    (found,) = judged(**changed)
    assert word in found


def test_one_copy_is_taken_where_its_server_was_seen_to_sync_or_by_the_unsafe_setting():
    assert judged(copies=1, monitored=True) == []
    assert len(judged(copies=1, monitored=True, synced="and it does not say so")) == 1
    assert judged(copies=1, unsafe=True) == []
    # What is unsafe about a single copy excuses nothing else.
    assert len(judged(copies=1, unsafe=True, discard="old")) == 1


class Monitor:
    """Answers `/varz`."""

    def __init__(self, answer):
        self.answer = answer

    async def exchange(self, request):
        assert request.url == "http://broker:8222/varz"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def varz(status=200, **given):
    said = {"server_id": "ID1", "server_name": "n1", "jetstream": {"config": {"sync_always": True}}, **given}
    return Response(status=status, headers={}, body=msgspec.json.encode(said))


def asked(answer, **changed):
    facts = msgspec.structs.replace(GOOD, copies=1, **changed)
    return asyncio.run(syncs_always(facts, Monitor(answer), "http://broker:8222/"))


def test_a_server_that_says_that_it_syncs_always_is_believed_of_its_own_stream_alone():
    assert asked(varz()) == ""
    assert asked(varz(), leader="") == ""
    assert "another server" in asked(varz(server_name="n2"))
    assert "another server" in asked(varz(server_id="ID2"), leader="")


@pytest.mark.parametrize(
    "answer",
    [
        varz(jetstream={"config": {"sync_interval": 120_000_000_000}}),
        varz(jetstream={}),
        varz(status=404),
        Response(status=200, headers={}, body=b"<html>"),
        TransportError("no connection", sent=False),
    ],
    ids=["by_interval", "no_jetstream", "not_there", "no_json", "no_answer"],
)
def test_what_does_not_say_so_is_not_believed(answer):
    assert asked(answer) != ""


def _settings(tmp_path, text):
    return SettingsFile(tmp_path / "tieout.toml", f'company = "demo co."\n{text}').settings.buffer


def test_the_short_and_the_long_form_of_the_setting(tmp_path):
    short = _settings(tmp_path, 'buffer = "nats://broker:4222"\n')
    assert isinstance(short, Buffer)
    assert (short.url, short.stream, short.copies) == ("nats://broker:4222", "tieout-demo-co-", 3)
    long = _settings(
        tmp_path, '[buffer]\nurl = "nats://broker:4222"\nstream = "mine"\nuser = "u"\npassword = "p"\n'
    )
    assert (long.stream, long.user, str(long.password)) == ("mine", "u", "***")
    assert _settings(tmp_path, "") is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('buffer = "kafka://broker"', "nats://HOST:4222"),
        ('[buffer]\nurl = "nats://user:secret-word@broker:4222"', "password does not stand in the url"),
        ('[buffer]\nurl = "nats://broker"\nstream = "a.b"', "letters, digits"),
        ('[buffer]\nurl = "nats://broker"\nreplicas = 3', "replicas"),
    ],
)
def test_a_buffer_that_cannot_be_meant_is_refused(tmp_path, text, word):
    with pytest.raises(ConfigurationError, match=word):
        _settings(tmp_path, text)
