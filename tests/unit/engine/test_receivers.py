"""Who is told: the signature of the specification, what each answer means, and what a configuration may not say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tieout.canonical.secret import Secret
from tieout.cli.telling import covers
from tieout.engine.outbox import Event, Gone, NotTaken, Taken, Verdict, cloud_event
from tieout.engine.receivers import (
    NatsConfig,
    OutboxConfig,
    Stream,
    Webhook,
    WebhookConfig,
    key_of,
    new_secret,
    open_outbox,
    signatures,
)
from tieout.ports import Request, Response, TransportError
from tieout.settings import ConfigurationError, SettingsFile

NOW = datetime(2026, 5, 1, 10, tzinfo=UTC)
OLD, NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", new_secret(lambda size: bytes(range(size)))
EVENT = Event(
    seq=42,
    event_id="3W7Q0ZB5T1V8M2K4D6F9H0J1XA",
    type="invoice.posted",
    subject="billing|invoice|in_1",
    key="TRACE",
    at=1_777_629_600_123_456,
    data='{"total_minor":120000}',
)


class Wire:
    """A transport that answers as it is told, and keeps what was sent."""

    def __init__(self, answer: Response | TransportError) -> None:
        self.answer = answer
        self.sent: list[Request] = []

    async def exchange(self, request: Request) -> Response:
        self.sent.append(request)
        if isinstance(self.answer, TransportError):
            raise self.answer
        return self.answer


def answer(status: int, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=named, body=b"")


async def delivered(said: Response | TransportError, **given: Any) -> tuple[Verdict, Request]:
    wire = Wire(said)
    clock = SimpleNamespace(now=lambda: NOW, real_now_micros=lambda: 1_614_265_330_999_999)
    config = {"name": "hook", "url": "https://hooks.example.com/x", "secrets": [Secret(NEW)], **given}
    world: Any = SimpleNamespace(clock=clock, transport=wire)
    verdict = await Webhook(WebhookConfig(**config), "urn:tieout:demo", world).deliver(EVENT)
    (request,) = wire.sent
    return verdict, request


def test_the_signature_is_the_one_of_the_specification() -> None:
    """The vector of the specification's own reference libraries."""
    made = signatures(
        [key_of(Secret(OLD))], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_while_a_secret_is_rotated_either_verifies_and_the_body_is_what_was_signed() -> None:
    verdict, request = await delivered(answer(204), secrets=[Secret(NEW), Secret(OLD)])
    assert verdict == Taken()
    assert request.headers["webhook-id"] == EVENT.event_id
    assert request.headers["webhook-timestamp"] == "1614265330"
    given = request.headers["webhook-signature"].split(" ")
    for secret, one in zip((NEW, OLD), given, strict=True):
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{EVENT.event_id}.1614265330.".encode() + request.body
        assert one == "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert NEW not in repr(request)
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    assert request.public_only


def test_the_envelope_is_a_cloud_event() -> None:
    assert json.loads(cloud_event(EVENT, "urn:tieout:demo")) == {
        "specversion": "1.0",
        "id": EVENT.event_id,
        "source": "urn:tieout:demo",
        "type": "io.tieout.invoice.posted.v1",
        "subject": "billing|invoice|in_1",
        "time": "2026-05-01T10:00:00.123456Z",
        "datacontenttype": "application/json",
        "partitionkey": "TRACE",
        "sequence": "00000000000000000042",
        "data": {"total_minor": 120000},
    }


@pytest.mark.parametrize("status", [200, 201, 202, 299])
async def test_any_2xx_is_taken(status: int) -> None:
    assert (await delivered(answer(status)))[0] == Taken()


async def test_gone_is_gone() -> None:
    assert isinstance((await delivered(answer(410)))[0], Gone)


@pytest.mark.parametrize("status", [400, 401, 404, 408, 413, 500, 502, 504])
async def test_any_other_answer_is_tried_again(status: int) -> None:
    verdict, _ = await delivered(answer(status))
    assert verdict == NotTaken(reason=f"it answered {status}")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_a_failure_and_named(status: int) -> None:
    verdict, _ = await delivered(answer(status, location="http://169.254.169.254/latest"))
    assert isinstance(verdict, NotTaken)
    assert "not followed" in verdict.reason
    assert "169.254" not in verdict.reason


@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_that_asks_for_time_gets_it_for_everything(status: int) -> None:
    verdict, _ = await delivered(answer(status, retry_after="90"))
    assert isinstance(verdict, NotTaken)
    assert (verdict.retry_at, verdict.all_wait) == (NOW + timedelta(seconds=90), True)


@pytest.mark.parametrize("text", ["soon", "-1", "", "9" * 30, "Fri, 99 May 2026 10:00:00 GMT"])
async def test_a_retry_after_that_says_nothing_is_no_moment(text: str) -> None:
    verdict, _ = await delivered(answer(503, retry_after=text))
    assert isinstance(verdict, NotTaken)
    assert verdict.retry_at is None


async def test_no_answer_is_tried_again() -> None:
    verdict, _ = await delivered(TransportError("no answer within 20 s", sent=True))
    assert verdict == NotTaken(reason="no answer within 20 s")


class Broker:
    def __init__(self, error: TransportError | None = None) -> None:
        self.error = error
        self.sent: list[tuple[str, dict[str, str]]] = []

    async def publish(
        self, subject: str, body: bytes, headers: dict[str, str], timeout_seconds: float
    ) -> None:
        self.sent.append((subject, headers))
        if self.error is not None:
            raise self.error


async def test_a_stream_gets_the_id_so_that_it_drops_what_it_has() -> None:
    broker: Any = Broker()
    config = NatsConfig(url="nats://127.0.0.1:4222", stream="TIEOUT", subject="acme.tieout")
    assert await Stream(config, "urn:x", broker).deliver(EVENT) == Taken()
    ((subject, headers),) = broker.sent
    assert subject == "acme.tieout.invoice.posted"
    assert headers["Nats-Msg-Id"] == EVENT.event_id
    broker.error = TransportError("NATS TIEOUT: no response from stream", sent=True)
    assert isinstance(await Stream(config, "urn:x", broker).deliver(EVENT), NotTaken)


def test_without_a_receiver_there_is_no_outbox() -> None:
    nobody: Any = None
    assert open_outbox(OutboxConfig(), "demo", nobody, None) is None


def test_only_what_somebody_takes_is_wanted() -> None:
    one = WebhookConfig(
        name="a", url="https://a.example.com", secrets=[Secret(NEW)], types=["invoice.posted"]
    )
    world: Any = SimpleNamespace()
    outbox = open_outbox(OutboxConfig(webhooks=[one]), "Acme & Söhne", world, None)
    assert outbox is not None
    assert outbox.types == {"invoice.posted"}


# -- what a configuration may not say -----------------------------------------------------------------------------
HOOK = f"""\
company = "demo"

[[outbox.webhooks]]
name = "hook"
url = "https://hooks.example.com/x"
secrets = ["{NEW}"]
"""


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        SettingsFile(Path("tieout.toml"), text)
    said = str(raised.value)
    assert "whsec_AAEC" not in said
    return said


def test_a_good_section_is_read_and_shows_no_secret() -> None:
    config = SettingsFile(Path("tieout.toml"), HOOK).settings.outbox
    assert config.webhooks[0].name == "hook"
    assert NEW not in repr(config)


@pytest.mark.parametrize(
    ("was", "written", "said"),
    [
        ("https://hooks.example.com/x", "http://hooks.example.com/x", "private = true"),
        ("https://hooks.example.com/x", "ftp://hooks.example.com/x", "write https://HOST/PATH"),
        ("https://hooks.example.com/x", "https:///x", "write https://HOST/PATH"),
        (
            "https://hooks.example.com/x",
            "https://me:hush@hooks.example.com/x",
            "the signature tells who calls",
        ),
        (f'"{NEW}"', '"hush"', "tieout outbox secret"),
        (f'"{NEW}"', '"whsec_c2hvcnQ="', "24 to 64 bytes"),
        (f'"{NEW}"', '"whsec_not base64!"', "tieout outbox secret"),
        (f'"{NEW}"', "", "write one, or two"),
        (f'"{NEW}"', f'"{NEW}", "{NEW}", "{NEW}"', "write one, or two"),
        ('name = "hook"', 'name = "The Hook"', "lower-case"),
        ('name = "hook"', 'name = "nats"', "not nats"),
        ('name = "hook"', 'name = "hook"\ntypes = ["invoice.paid"]', "invoice.posted"),
        ('name = "hook"', 'name = "hook"\ntimeout_seconds = 60', "1 to 30"),
        ('name = "hook"', 'name = "hook"\nat_once = 0', "1 to 256"),
        ('name = "hook"', 'name = "hook"\ntype = ["x"]', "did you mean types?"),
        ("[[outbox.webhooks]]", "[outbox]\nkeep_days = 3\n[[outbox.webhooks]]", "keep longer than that"),
        (
            "[[outbox.webhooks]]",
            '[outbox.nats]\nurl = "http://x"\nstream = "T"\n[[outbox.webhooks]]',
            "nats://HOST",
        ),
        (
            "[[outbox.webhooks]]",
            '[outbox.nats]\nurl = "nats://u:p@x"\nstream = "T"\n[[outbox.webhooks]]',
            "keys of their own",
        ),
        (
            "[[outbox.webhooks]]",
            '[outbox.nats]\nurl = "nats://x"\nstream = ""\n[[outbox.webhooks]]',
            "name of a stream",
        ),
        (
            "[[outbox.webhooks]]",
            '[outbox.nats]\nurl = "nats://x"\nstream = "T"\nsubject = "a.>"\n[[outbox.webhooks]]',
            "subject",
        ),
        (
            "[[outbox.webhooks]]",
            '[outbox.nats]\nurl = "nats://x"\nstream = "T"\nuser = "u"\n[[outbox.webhooks]]',
            "belong together",
        ),
    ],
)
def test_what_is_wrong_says_what_to_write(was: str, written: str, said: str) -> None:
    assert said in refusal(HOOK.replace(was, written, 1))


def test_two_webhooks_of_one_name_are_refused() -> None:
    again = HOOK.partition("\n\n")[2]
    assert "a name of its own" in refusal(f"{HOOK}\n{again}")


@pytest.mark.parametrize(
    ("pattern", "subject", "kept"),
    [
        ("tieout.>", "tieout.invoice.posted", True),
        ("tieout.*.posted", "tieout.invoice.posted", True),
        (">", "tieout.invoice.posted", True),
        ("tieout.invoice.posted", "tieout.invoice.posted", True),
        ("tieout.*", "tieout.invoice.posted", False),
        ("tieout.invoice.posted.>", "tieout.invoice.posted", False),
        ("other.>", "tieout.invoice.posted", False),
    ],
)
def test_which_subjects_a_stream_keeps(pattern: str, subject: str, kept: bool) -> None:
    assert covers(pattern, subject) is kept
