"""Certification: what we rely on of a vendor, put to the test in a sandbox, and what came of it kept in a file.

A certificate is a fact about the vendor, not about the hub's data: it lies beside the configuration as
`certified/<connection>.json`, can be read in a review and copied to where production runs. It speaks of a behaviour as
long as that behaviour's text is the one that was probed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from tieout.canonical.model import Value
from tieout.canonical.outcome import Failure, NotFound
from tieout.connectors.contract import (
    Behaviour,
    Certification,
    ConnectorDescriptor,
    Identity,
    Probe,
    Verdict,
    untestable,
)
from tieout.ports import TransportError

FOLDER = "certified"
_NO_PROBE = "this connector has no probe of it"


class Line(Value, frozen=True):
    """One behaviour as it was probed."""

    behaviour: str
    text: str
    answer: str
    seen: str


class Certificate(Value, frozen=True):
    """What a run of the probes showed. `twin`: the other side was on this machine, which certifies no vendor.
    `left`: what could not be taken away again, in words."""

    connection: str
    vendor: str
    account: str
    at: datetime
    live: bool
    twin: bool
    lines: tuple[Line, ...]
    left: tuple[str, ...] = ()

    @property
    def contradicted(self) -> tuple[Line, ...]:
        """What the vendor did otherwise than we rely on."""
        return tuple(line for line in self.lines if line.answer == "false")


class Standing(Value, frozen=True):
    """How sure we are of one behaviour today. `state`: `documented`, `assumed`, `verified` (then `account` and `on` say
    where and when) or `contradicted`. `seen` is what the newest probe saw, also where it was only a twin's."""

    behaviour: str
    text: str
    source: str
    state: str
    account: str = ""
    on: str = ""
    seen: str = ""
    twin: bool = False


class Planned(Value, frozen=True):
    """What a run would do about one behaviour: `makes` in words, or why it cannot be probed."""

    behaviour: str
    text: str
    probed: bool
    makes: tuple[str, ...] = ()
    why_not: str = ""


def plan(behaviours: Iterable[Behaviour], certification: Certification) -> tuple[Planned, ...]:
    """What a run would make, before anything is sent."""
    probes = _by_behaviour(certification)
    return tuple(
        Planned(
            behaviour=one.id,
            text=one.text,
            probed=one.id in probes,
            makes=probes[one.id].makes if one.id in probes else (),
            why_not="" if one.id in probes else certification.untestable.get(one.id, _NO_PROBE),
        )
        for one in behaviours
    )


async def certify(
    descriptor: ConnectorDescriptor,
    certification: Certification,
    *,
    connection: str,
    identity: Identity,
    at: datetime,
    twin: bool,
) -> Certificate:
    """Run every probe, then clean up, whatever happened. One probe that cannot be run stops no other."""
    left: tuple[str, ...] = ()
    verdicts: dict[str, Verdict] = {}
    try:
        for probe in certification.probes:
            verdicts[probe.behaviour] = await _run(probe)
    finally:
        left = await certification.clean_up()
    lines = []
    for one in descriptor.behaviours:
        verdict = verdicts.get(one.id) or untestable(certification.untestable.get(one.id, _NO_PROBE))
        lines.append(Line(behaviour=one.id, text=one.text, answer=verdict.answer, seen=verdict.seen))
    return Certificate(
        connection=connection,
        vendor=descriptor.vendor,
        account=identity.account or identity.organisation,
        at=at,
        live=identity.live,
        twin=twin,
        lines=tuple(lines),
        left=left,
    )


async def _run(probe: Probe) -> Verdict:
    try:
        return await probe.run()
    except Failure as failure:
        return untestable(str(failure))
    except NotFound as missing:
        return untestable(f"not found: {missing}")
    except TransportError as error:
        return untestable(f"no answer: {error.reason}")
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        # An answer of a shape that the probe does not know proves nothing about the behaviour.
        return untestable(f"an answer that the probe cannot read ({type(error).__name__}: {error})")


def _by_behaviour(certification: Certification) -> Mapping[str, Probe]:
    return {probe.behaviour: probe for probe in certification.probes}


def is_loopback(config: Any) -> bool:
    """Whether a connection's configuration leads to this machine: then a twin answers, not the vendor."""
    for name in getattr(config, "__struct_fields__", ()):
        value = getattr(config, name)
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            host = urlsplit(value).hostname or ""
            if host == "localhost" or _loopback_address(host):
                return True
    return False


def _loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# ------------------------------------------------------------------------------------------------------ kept in files


def save(folder: Path, certificate: Certificate) -> Path:
    """Keep a certificate in place of the connection's older one; `folder` is the configuration's. Raises OSError."""
    path = folder / FOLDER / f"{quote(certificate.connection, safe='')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    passing = path.with_suffix(".json.new")
    passing.write_bytes(msgspec.json.format(msgspec.json.encode(certificate), indent=2) + b"\n")
    passing.replace(path)
    return path


def load(folder: Path) -> tuple[Certificate, ...]:
    """Every certificate beside the configuration, the oldest first. ValueError names a file that is none."""
    found = []
    for path in sorted((folder / FOLDER).glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Certificate))
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise ValueError(f"{path} is no certificate ({error}): run `tieout certify` again") from error
    return tuple(sorted(found, key=lambda one: one.at))


def standings(descriptor: ConnectorDescriptor, certificates: Iterable[Certificate]) -> tuple[Standing, ...]:
    """How sure we are of each behaviour of a connector: by the newest certificate of a real account that could tell,
    else as it was written down. A twin's answer is shown, but verifies nothing."""
    ours = [one for one in certificates if one.vendor == descriptor.vendor]
    return tuple(_standing(behaviour, ours) for behaviour in descriptor.behaviours)


def _standing(behaviour: Behaviour, certificates: list[Certificate]) -> Standing:
    standing = Standing(
        behaviour=behaviour.id, text=behaviour.text, source=behaviour.source, state=behaviour.state
    )
    real = False
    for certificate in certificates:
        for line in certificate.lines:
            if line.behaviour != behaviour.id or line.text != behaviour.text or line.answer == "untestable":
                continue
            if certificate.twin and real:
                continue
            real = real or not certificate.twin
            told = "verified" if line.answer == "true" else "contradicted"
            standing = msgspec.structs.replace(
                standing,
                state=behaviour.state if certificate.twin and line.answer == "true" else told,
                account=certificate.account,
                on=certificate.at.date().isoformat(),
                seen=line.seen,
                twin=certificate.twin,
            )
    return standing
