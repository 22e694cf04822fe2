"""The image and the compose file, as far as they can be judged without a container engine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from typer.testing import CliRunner

from tests.unit.test_repository import locked, wanted
from tieout.cli.main import app
from tieout.store.database import open_store
from tieout.web.api import open_to_all

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
OURS = {name: one for name, one in COMPOSE["services"].items() if one["image"] == "tieout"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instructions(word: str) -> list[str]:
    """What stands after an instruction, continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.partition(" ")[2].strip() for line in joined.splitlines() if line.startswith(f"{word} ")]


def test_there_are_processes_that_serve_and_that_work() -> None:
    assert {one["command"][-1] for one in OURS.values()} == {"migrate", "serve", "work"}
    assert instructions("ENTRYPOINT") == ['["tieout"]']
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["tieout"] == "tieout.cli.main:main"


@pytest.mark.parametrize(
    "command", [*(one["command"] for one in OURS.values()), ["up"], ["check"], ["status"]]
)
def test_every_command_is_one_of_the_cli(command: list[str]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"])
    assert shown.exit_code == 0, shown.output
    assert f"Usage: tieout {command[-1]}" in shown.output.replace("[OPTIONS] ", "")


def test_every_variable_of_the_environment_is_read_by_somebody() -> None:
    known = {param.envvar for param in typer.main.get_command(app).params if param.envvar}
    given = set(re.findall(r"\b(TIEOUT_[A-Z]+)=", DOCKERFILE))
    for one in OURS.values():
        given |= set(one["environment"])
    # The broker's password is named by the configuration: docs/scaling.md.
    assert given - {"NATS_PASSWORD"} == {"TIEOUT_CONFIG", "TIEOUT_DATABASE"} <= known


def test_the_database_of_the_compose_file_is_a_database() -> None:
    url = OURS["work"]["environment"]["TIEOUT_DATABASE"]
    assert "${POSTGRES_PASSWORD:?" in url
    plain = re.sub(r"\$\{[^}]*\}", "word", url)
    assert open_store(plain, writer="test").dialect == "postgresql"
    postgres = COMPOSE["services"]["postgres"]["environment"]
    user, name = postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]
    assert plain == f"postgresql://{user}:word@postgres:5432/{name}"


def test_the_tables_are_there_before_anybody_works_on_them() -> None:
    for name, one in OURS.items():
        after = "postgres" if name == "migrate" else "migrate"
        assert list(one["depends_on"]) == [after]
        assert after in COMPOSE["services"]


def test_nothing_is_written_but_to_the_state() -> None:
    (folder,) = instructions("WORKDIR")[-1:]
    for one in OURS.values():
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert set(one["volumes"]) == {"./company:/etc/tieout:ro", f"state:{folder}"}
    assert instructions("USER") == ["tieout"]
    assert f"-o tieout -g tieout {folder}" in DOCKERFILE
    for one in COMPOSE["services"].values():
        for volume in one["volumes"]:
            name = volume.partition(":")[0]
            assert name.startswith("./") or name in COMPOSE["volumes"], volume


def test_health_is_asked_where_it_is_told_and_only_of_who_serves() -> None:
    (asked,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", DOCKERFILE)
    assert asked == (instructions("EXPOSE")[0], "/healthz")
    assert "/healthz" in {path for route in open_to_all for path in route.paths}
    healthy = {name for name, one in OURS.items() if not one.get("healthcheck", {}).get("disable")}
    assert healthy == {"serve"}


def test_what_is_copied_is_there_and_enough() -> None:
    copied = {name for line in instructions("COPY") if "--from" not in line for name in line.split()[:-1]}
    assert copied == {"requirements/image.txt", "pyproject.toml", "LICENSE", "src"}
    assert all((ROOT / name).exists() for name in copied)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == copied
    # What the package's own metadata names beside its code.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["license-files"]) <= copied
    assert "readme" not in project


def test_the_image_holds_the_hub_and_every_extra() -> None:
    entries, dev = locked("image.txt"), locked("dev.txt")
    assert locked("base.txt").keys() <= entries.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {Requirement(line).name for some in project["optional-dependencies"].values() for line in some}
    builds = {
        Requirement(line).name
        for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    }
    assert {one.name for one in wanted("image.in")} == extras | builds
    assert extras | builds <= entries.keys()
    version = re.compile(r"==(\S+)")
    assert [name for name in entries if version.findall(entries[name]) != version.findall(dev[name])] == []
    assert [name for name, entry in entries.items() if "--hash=sha256:" not in entry] == []
