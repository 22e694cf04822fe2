"""The hub's own HTTP client against sockets that behave in every way sockets do."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tieout.ports import Request, TransportError
from tieout.system import SystemTransport
from tieout.system import http as outgoing

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """A server that says what it is told to, and keeps what it heard."""

    def __init__(self, *answers: bytes, close: bool = False, silent: bool = False) -> None:
        self.answers = list(answers)
        self.close = close
        self.silent = silent
        self.heard: list[bytes] = []
        self.connections = 0
        self.url = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line[15:] for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
                length = int(lengths[0]) if lengths else 0
                self.heard.append(head + await reader.readexactly(length))
                if self.silent:
                    await asyncio.sleep(30)
                writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
                await writer.drain()
                if self.close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(peer: Peer, tls: ssl.SSLContext | None = None) -> AsyncIterator[SystemTransport]:
    server = await asyncio.start_server(peer.talk, "127.0.0.1", 0, ssl=tls)
    peer.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport = SystemTransport()
    try:
        yield transport
    finally:
        await transport.close()
        server.close()
        await asyncio.sleep(0.01)


def request(peer: Peer, path: str = "/x", **given: Any) -> Request:
    return Request(
        **{"method": "GET", "url": peer.url + path, "headers": {}, "timeout_seconds": 2.0, **given}
    )


async def test_one_connection_serves_many_exchanges() -> None:
    peer = Peer(OK)
    async with serving(peer) as transport:
        for _ in range(5):
            answer = await transport.exchange(
                request(peer, method="POST", body=b"a=1", headers={"X-Key": "ä"})
            )
            assert (answer.status, answer.body) == (200, b"ok")
    assert peer.connections == 1
    assert b"X-Key: \xc3\xa4\r\n" in peer.heard[0]
    assert peer.heard[0].endswith(b"\r\n\r\na=1")


async def test_an_empty_post_says_that_it_is_empty() -> None:
    peer = Peer(OK)
    async with serving(peer) as transport:
        await transport.exchange(request(peer, method="POST"))
    assert b"Content-Length: 0\r\n" in peer.heard[0]


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 204 No Content\r\nLocation: /a/1\r\n\r\n", b""),
    ],
    ids=["chunked", "continue", "no content"],
)
async def test_ways_of_framing(raw: bytes, body: bytes) -> None:
    peer = Peer(raw)
    async with serving(peer) as transport:
        assert (await transport.exchange(request(peer))).body == body
        assert (await transport.exchange(request(peer))).body == body
    assert peer.connections == 1


async def test_a_body_that_ends_with_the_connection() -> None:
    peer = Peer(b"HTTP/1.1 200 OK\r\n\r\nall of it", close=True)
    async with serving(peer) as transport:
        assert (await transport.exchange(request(peer))).body == b"all of it"
        assert (await transport.exchange(request(peer))).body == b"all of it"
    assert peer.connections == 2


async def test_a_packed_body_is_unpacked() -> None:
    packed = gzip.compress(b'{"a":1}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    peer = Peer(head + packed)
    async with serving(peer) as transport:
        assert (await transport.exchange(request(peer))).body == b'{"a":1}'


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nshort",
        b"",
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        % (len(gzip.compress(b"x" * 5000)), gzip.compress(b"x" * 5000)),
    ],
    ids=["cut off", "nothing", "another protocol", "framed twice", "broken gzip", "too large", "bomb"],
)
async def test_no_answer_to_trust_is_in_doubt(raw: bytes) -> None:
    peer = Peer(raw, close=True)
    async with serving(peer) as transport:
        with pytest.raises(TransportError) as caught:
            await transport.exchange(request(peer, max_bytes=1000))
        assert caught.value.sent
    assert len(peer.heard) == 1, "nothing is ever sent again"


async def test_a_kept_connection_that_died_is_in_doubt_and_not_sent_again() -> None:
    peer = Peer(OK, b"", close=False)
    async with serving(peer) as transport:
        await transport.exchange(request(peer))
        peer.close = True
        with pytest.raises(TransportError) as caught:
            await transport.exchange(request(peer, method="PUT"))
        assert caught.value.sent
    assert len(peer.heard) == 2


async def test_the_deadline_is_hard() -> None:
    peer = Peer(OK, silent=True)
    async with serving(peer) as transport:
        with pytest.raises(TransportError, match=r"no answer within 0\.05 s") as caught:
            await transport.exchange(request(peer, timeout_seconds=0.05))
        assert caught.value.sent


async def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    peer = Peer(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged", OK)
    async with serving(peer) as transport:
        assert (await transport.exchange(request(peer))).body == b"ok"
        await asyncio.sleep(0.02)
        assert (await transport.exchange(request(peer))).body == b"ok"
    assert peer.connections == 2


async def test_a_cancelled_exchange_leaves_no_answer_to_the_next() -> None:
    peer = Peer(OK, silent=True)
    async with serving(peer) as transport:
        task = asyncio.ensure_future(transport.exchange(request(peer)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        peer.silent = False
        assert (await transport.exchange(request(peer))).body == b"ok"
    assert peer.connections == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x",
        "ftp://127.0.0.1/x",
        "http:///x",
        "http://a@127.0.0.1/",
        "http://127.0.0.1:99999/",
    ],
)
async def test_without_a_connection_nothing_was_sent(url: str) -> None:
    transport = SystemTransport()
    with pytest.raises(TransportError) as caught:
        await transport.exchange(Request(method="GET", url=url, headers={}, timeout_seconds=2.0))
    assert not caught.value.sent
    await transport.close()


async def test_no_value_becomes_a_second_request() -> None:
    peer = Peer(OK)
    async with serving(peer) as transport:
        with pytest.raises(TransportError) as caught:
            await transport.exchange(request(peer, headers={"X-Key": "a\r\nX-Other: b"}))
        assert not caught.value.sent
        await transport.exchange(request(peer, path="/a b\r\nX: y?q=ü#part"))
    assert peer.heard[0].startswith(b"GET /a%20bX:%20y?q=%C3%BC HTTP/1.1\r\n")


async def test_a_refused_header_is_how_a_request_is_framed() -> None:
    peer = Peer(OK)
    async with serving(peer) as transport:
        for name in ("Content-Length", "transfer-encoding", "Host", "Connection"):
            with pytest.raises(TransportError) as caught:
                await transport.exchange(request(peer, headers={name: "1"}))
            assert not caught.value.sent
    assert peer.heard == []


async def test_of_a_header_that_comes_twice_the_last_counts() -> None:
    peer = Peer(b"HTTP/1.1 200 OK\r\nDate: one\r\nDate: two\r\nContent-Length: 2\r\n\r\nok")
    async with serving(peer) as transport:
        assert (await transport.exchange(request(peer))).headers["date"] == "two"


@pytest.mark.parametrize("wbits", [15, -15], ids=["zlib", "raw"])
async def test_both_things_that_servers_call_deflate(wbits: int) -> None:
    packing = zlib.compressobj(wbits=wbits)
    packed = packing.compress(b"some body") + packing.flush()
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with serving(peer := Peer(head + packed)) as transport:
        assert (await transport.exchange(request(peer))).body == b"some body"


async def test_a_body_that_is_coded_in_an_unknown_way_is_in_doubt() -> None:
    peer = Peer(b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok")
    async with serving(peer) as transport:
        with pytest.raises(TransportError, match="coding") as caught:
            await transport.exchange(request(peer))
        assert caught.value.sent


async def test_an_answer_that_comes_in_single_bytes() -> None:
    peer = Peer(OK)

    async def drop_by_drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(len(OK)):
            writer.write(OK[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    peer.talk = drop_by_drop  # type: ignore[method-assign]
    async with serving(peer) as transport:
        assert (await transport.exchange(request(peer))).body == b"ok"


async def test_a_connection_that_was_kept_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "_KEPT_SECONDS", 0.0)
    peer = Peer(OK)
    async with serving(peer) as transport:
        for _ in range(2):
            await transport.exchange(request(peer))
    assert peer.connections == 2


# ------------------------------------------------------------------------------------------------------------- TLS


def certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, Path]:
    """A server's side with a certificate for `host`, and the file of who signed it: itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    alternative = x509.SubjectAlternativeName([x509.DNSName(host)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    return context, pem


@pytest.mark.parametrize(
    ("host", "trusted", "answered"),
    [("localhost", True, True), ("localhost", False, False), ("elsewhere.example", True, False)],
    ids=["trusted", "signed by a stranger", "of another host"],
)
async def test_who_answers_is_verified_before_a_byte_is_sent(
    host: str, trusted: bool, answered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, pem = certificate(tmp_path, host)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    outgoing._tls.cache_clear()
    peer = Peer(OK)
    try:
        async with serving(peer, context) as transport:
            url = peer.url.replace("127.0.0.1", "localhost") + "/x"
            asked = Request(method="GET", url=url, headers={}, timeout_seconds=5.0)
            if answered:
                assert (await transport.exchange(asked)).body == b"ok"
                return
            with pytest.raises(TransportError) as caught:
                await transport.exchange(asked)
            assert not caught.value.sent
        assert peer.heard == []
    finally:
        outgoing._tls.cache_clear()
