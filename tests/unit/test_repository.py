"""What is in the repository is the project and nothing else: no index addresses, no machine's paths."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tieout.app import descriptors

ROOT = Path(__file__).resolve().parents[2]
MAX_DIRECT_DEPENDENCIES = 25

# Written with classes of one letter, so that this file does not find itself.
INDEX_ADDRESS = re.compile(
    r"pypi[.](org|python)|pythonhosted[.]org|registry[.](npmjs|yarnpkg)|npmmirror[.]com|(static|index)[.]crates[.]io"
    r"|proxy[.]golang[.]org|(extra-)?index[-]url|--find[-]links|https?://[^\s\"'<>]+/simple[/\s\"']|\"resolved[\"]:"
    r"|registry *= *\"?https?:"
)
MACHINE_PATH = re.compile(
    r"(?<![\w.~/-])/([w]ork|[f]arm|[r]oot|opt/(pypi|wheels)|home/[a-z]+|Users/[A-Za-z]+)/|[.]library\b"
)
# Beside the checkout there are only the vendors' specifications.
BESIDE = re.compile(r"\bshared[\"' ]*/[\"' ]*(?!specs\b)[a-z]+")


@cache
def tracked() -> tuple[Path, ...]:
    """The files git has or is about to have."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("repository lints: not a git checkout")
    listed = subprocess.run(
        [
            "git",
            "-c",
            f"safe.directory={ROOT}",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return tuple(path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file())


def lines() -> Iterator[tuple[str, str]]:
    for path in tracked():
        raw = path.read_bytes()
        if b"\0" in raw:
            continue
        for number, line in enumerate(raw.decode("utf-8", errors="replace").splitlines(), start=1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def findings(pattern: re.Pattern[str]) -> list[str]:
    return [f"{place}: {match[0]}" for place, line in lines() if (match := pattern.search(line))]


def test_no_file_names_a_package_index() -> None:
    assert findings(INDEX_ADDRESS) == []


def test_no_lock_file_that_carries_index_addresses() -> None:
    names = {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "yarn.lock", "pnpm-lock.yaml"}
    assert [path.relative_to(ROOT) for path in tracked() if path.name in names] == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert findings(MACHINE_PATH) == []


def test_only_the_specifications_lie_beside_us() -> None:
    assert findings(BESIDE) == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (INDEX_ADDRESS, "https://py|pi.org/project/x"),
        (INDEX_ADDRESS, "--extra-index|-url x"),
        (INDEX_ADDRESS, '"resolved|": "x"'),
        (INDEX_ADDRESS, "see https://packages.example/sim|ple/ for more"),
        (MACHINE_PATH, "open('/wo|rk/main/x')"),
        (MACHINE_PATH, "in /ho|me/someone/x"),
        (BESIDE, "sha|red/design/x.md"),
    ],
)
def test_lints_can_fail(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line.replace("|", ""))  # the bar keeps this file out of its own findings


def locked(name: str) -> dict[str, str]:
    """Package -> the text of its entry."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    entries: dict[str, str] = {}
    for line in filter(None, body.splitlines()):
        package = canonicalize_name(re.split(r"[=<>;\[ ]", line, maxsplit=1)[0])
        entries[package] = entries.get(package, "") + line
    return entries


def wanted(name: str) -> list[Requirement]:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith(("#", "-"))]


@pytest.mark.parametrize("name", ["base.txt", "dev.txt"])
def test_every_requirement_is_pinned_with_hashes(name: str) -> None:
    entries = locked(name)
    assert len(entries) > 20
    assert [
        package for package, entry in entries.items() if "==" not in entry or "--hash=sha256:" not in entry
    ] == []


def test_lock_files_cover_what_is_wanted_and_agree() -> None:
    base, dev = locked("base.txt"), locked("dev.txt")
    assert {canonicalize_name(requirement.name) for requirement in wanted("base.in")} <= base.keys()
    assert {canonicalize_name(requirement.name) for requirement in wanted("dev.in")} <= dev.keys()
    version = re.compile(r"==(\S+)")
    assert {name: version.findall(base[name]) for name in base} == {
        name: version.findall(dev[name]) for name in base
    }


def test_base_requirements_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = sorted(map(str, map(Requirement, project["dependencies"])))
    assert declared == sorted(map(str, wanted("base.in")))
    assert len(declared) <= MAX_DIRECT_DEPENDENCIES


def test_readme_shows_how_sure_we_are_of_each_connectors_behaviours() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for one in descriptors():
        states = [behaviour.state for behaviour in one.behaviours]
        counts = [states.count(state) for state in ("documented", "assumed", "verified")]
        row = f"| {one.title.removeprefix('Oracle ')} | {' | '.join(map(str, counts))} |"
        assert row in text, f"README.md, the table of behaviours, should hold: {row}"
