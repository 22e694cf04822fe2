"""`tieout up` as a process: it serves, refuses a second one, executes commands, ends in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.process.web_world import event, signature, write_company


def command(path: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tieout", "--config", str(path), *arguments]


def call(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(path, *arguments), capture_output=True, text=True, timeout=120, check=False)


def test_up_serves_refuses_a_second_one_and_stops_in_order(tmp_path: Path) -> None:
    path = write_company(tmp_path)
    with subprocess.Popen(
        command(path, "up", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as up:
        try:
            assert up.stdout is not None
            lines = []
            while (line := up.stdout.readline()) and not line.startswith("}"):
                lines.append(line)
            url = json.loads("".join([*lines, "}"]))["url"]
            with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
                assert answer.status == 200
            body = event(type_="radar.early_fraud_warning.created")
            hook = urllib.request.Request(
                f"{url}/hooks/billing-us",
                data=body,
                headers={"stripe-signature": signature(body)},
                method="POST",
            )
            with urllib.request.urlopen(hook, timeout=10) as answer:
                assert answer.status == 200
            second = call(path, "up")
            assert second.returncode == 2
            assert f"process {up.pid}" in second.stderr
            assert "Traceback" not in second.stderr
            listed = call(path, "events", "--json")
            assert [one["state"] for one in json.loads(listed.stdout)] == ["ignored"]
            refused = call(path, "exceptions", "retry", "none", "--json")
            assert refused.returncode == 1
            assert json.loads(refused.stdout)["state"] == "failed"
        finally:
            os.kill(up.pid, signal.SIGTERM)
            _, errors = up.communicate(timeout=60)
    assert up.returncode == 0, errors
    assert "Traceback" not in errors
    assert "sk_test" not in errors
    for line in errors.splitlines():
        json.loads(line)
