"""The bench's company: the demo company's configuration and rules, with every address at the stub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tieout_lab import company
from tieout_lab.bench import bodies

# What a bench gives to connections: many calls at once, no polling, no limit of our own on the rate.
_WIDE = 64
_SELDOM = 3600


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def write(
    directory: Path,
    stub_port: int,
    *,
    in_flight: int = _WIDE,
    others_in_flight: int = _WIDE,
    runs_at_once: int = 64,
    poll_seconds: int = _SELDOM,
) -> Path:
    """Write the configuration into a folder; `in_flight` is the budget of the ERP's connection, which takes no batches
    here: what is measured is one call a document, as the raw loop makes them. `runs_at_once` is of one worker."""
    url = f"http://127.0.0.1:{stub_port}"
    account = {"api_key": bodies.API_KEY, "webhook_secret": bodies.WEBHOOK_SECRET}
    described: dict[str, dict[str, Any]] = {
        "salesforce": {
            "url": url,
            "pubsub_url": url,
            "org_id": bodies.ORG,
            "consumer_key": "bench",
            "username": "bench@tieout.example",
            "private_key": _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        },
        "stripe": {"url": url, "accounts": {"acct_us": account, "acct_jp": account}},
        "netsuite": {
            "url": url,
            "account": bodies.ERP_ACCOUNT,
            "client_id": "bench",
            "certificate_id": "bench",
            "private_key": _pem(ec.generate_private_key(ec.SECP256R1())),
            "algorithm": "ES256",
        },
    }
    path = company.write_company(
        directory, described, timeout_seconds=60, lease_seconds=600, poll_seconds=poll_seconds
    )
    alter(
        path,
        ("in_flight = 10\n", f"in_flight = {in_flight}\nbatch_size = 0\n"),
        (
            "poll_seconds = 60\n",
            f"poll_seconds = {poll_seconds}\nin_flight = {others_in_flight}\nper_second = 0\nper_endpoint_second = 0\n",
        ),
        (
            f"poll_seconds = {poll_seconds}\ntimeout",
            f"poll_seconds = {poll_seconds}\nin_flight = {others_in_flight}\ntimeout",
        ),
        ("lease_seconds = 600\n", f"lease_seconds = 600\nruns_at_once = {runs_at_once}\n"),
        # The demo's second account does not answer here, and nothing is sent to it.
        ('account = "acct_jp"', f'account = "{bodies.ACCOUNT}"'),
    )
    return path


def alter(file: Path, *changes: tuple[str, str]) -> None:
    """Change the demo company's configuration: what stands there, and what becomes of it. LookupError when it is not
    what it was: a measurement of other settings than it names would be none."""
    text = file.read_text()
    for was, becomes in changes:
        if was not in text:
            raise LookupError(f"{was!r} does not stand in the demo company's configuration")
        text = text.replace(was, becomes)
    file.write_text(text)
