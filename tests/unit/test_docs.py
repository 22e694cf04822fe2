"""The commands that the documents name are commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from tieout.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_SPAN = re.compile(r"`([^`\n]*(?:\n[^`\n]+)?)`")
_CALL = re.compile(r"(?:^|[ (]|bin/)tieout ((?:--[a-z-]+ \S+ )*)([a-z]+)(?: ([a-z-]+))?")


def calls(text: str) -> Iterator[tuple[str, str]]:
    """Command and the word after it, of every `tieout ...` in code."""
    fenced = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for code in [
        *(line.partition("#")[0] for block in fenced for line in block.splitlines()),
        *_SPAN.findall(rest),
    ]:
        for _, name, word in _CALL.findall(code.replace("\n", " ")):
            yield name, word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_exists(page: Path) -> None:
    command = typer.main.get_command(app)
    context = typer.Context(command)
    for name, word in calls(page.read_text(encoding="utf-8")):
        found = command.get_command(context, name)  # type: ignore[attr-defined]
        assert found is not None, f"{page.name}: tieout {name}"
        if hasattr(found, "commands") and word:
            assert word in found.commands, f"{page.name}: tieout {name} {word}"


def test_it_can_fail() -> None:
    assert list(calls("see `tieout frob`, and\n```\n$ .venv/bin/tieout --config x up  # now\n```")) == [
        ("up", ""),
        ("frob", ""),
    ]
