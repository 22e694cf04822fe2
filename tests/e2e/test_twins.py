"""`tieout twins`: one line that says where everything is, then they serve until stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request

import pytest

from tests.e2e.demo_run import COMMAND, environment


def start(*options: str) -> tuple[subprocess.Popen[str], dict]:
    process = subprocess.Popen(
        [*COMMAND, "twins", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def ask(url: str, body: dict | None = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=10) as answer:
        return json.load(answer)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_twins_serve_until_stopped(sign: signal.Signals) -> None:
    process, described = start("--json", "--business", "2026-01-15")
    try:
        assert set(described) == {"stripe", "salesforce", "netsuite", "control"}
        assert {"url", "api_key", "webhook_secret"} <= set(described["stripe"])
        control = described["control"]["url"]
        assert ask(f"{control}/clock")["business"].startswith("2026-01-15")
        assert ask(f"{control}/clock", {"business": "2026-02-01T00:00:00+00:00"})["business"].startswith(
            "2026-02-01"
        )
        for twin in ("stripe", "salesforce", "netsuite"):
            assert ask(f"{described['control']['twins'][twin]}/clock")["business"].startswith("2026-02-01")
    finally:
        process.send_signal(sign)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


def test_only_some_of_them() -> None:
    process, described = start("--only", "stripe")
    process.terminate()
    process.communicate(timeout=10)
    assert set(described) == {"stripe", "control"}


def test_an_unknown_twin_is_refused() -> None:
    done = subprocess.run(
        [*COMMAND, "twins", "--only", "sap"], capture_output=True, text=True, timeout=20, env=environment()
    )
    assert done.returncode == 2
    assert "stripe" in done.stderr
