"""`connectors`: which there are, and the beginning of a new one."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tieout.app import descriptors
from tieout.cli.checking import count, counted
from tieout.cli.session import Json, options, print_json, say, table
from tieout.engine.certifying import load, standings
from tieout.settings import ConfigurationError

app = typer.Typer(
    name="connectors", help="Which connectors there are; begin a new one.", no_args_is_help=True
)

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# The skeleton is a whole connector of an invented vendor of this name, which is what its tests are run as.
_INVENTED = "acme"
_PACKAGE = "init behaviours certification client config connection listing mapping outbound wire".split()
_TESTS = "test_conformance test_certification test_mapping test_left_to_write".split()


class Listed(msgspec.Struct, kw_only=True):
    """One connector: what it is, and how sure we are of what it relies on."""

    vendor: str
    title: str
    roles: tuple[str, ...]
    certifies: bool
    behaviours: dict[str, int]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """Every connector: ours and those that installed packages bring, with the behaviours each relies on by state.

    Examples:
      tieout connectors list

      tieout connectors list --json
    """
    try:
        certificates = load(options(context).config.parent)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    found = [
        Listed(
            vendor=one.vendor,
            title=one.title,
            roles=one.roles,
            certifies=one.certification is not None,
            behaviours=count(standings(one, certificates)),
        )
        for one in descriptors()
    ]
    if as_json:
        print_json({"connectors": found})
        return
    rows = [
        (
            one.vendor,
            one.title,
            ", ".join(one.roles),
            counted(one.behaviours),
            "yes" if one.certifies else "no",
        )
        for one in found
    ]
    table("Connectors", ("vendor", "title", "roles", "behaviours relied on", "tieout certify"), rows)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Of the vendor: lower-case letters, digits, underscores.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where its folder is made.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write a package with a connector, its twin, its list of behaviours with probes, and its tests.

    It is a small connector of an invented API, and green at once in the conformance suite. What is still the invented
    vendor's fails by name in tests/test_left_to_write.py, until the real one stands there.

    Examples:
      tieout connectors new acme

      cd acme && python -m pip install -e . && python -m pytest
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is no name: lower-case letters and digits, words joined by underscores"
        )
    if name in (known := [one.vendor for one in descriptors()]):
        raise ConfigurationError(f"there is a connector {name} already; known are {', '.join(known)}")
    target = folder / name
    if target.exists():
        raise ConfigurationError(f"nothing was written: {target} stands already")
    written = skeleton(name, target)
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"written": [str(path) for path in written]})
        return
    for path in written:
        say(f"wrote {path}")
    say(f"Now: cd {target} && python -m pip install -e . && python -m pytest")
    say("What is left to write fails there by name; docs/connectors.md says how.")


def skeleton(name: str, target: Path) -> dict[Path, str]:
    """The files of a new connector's package."""
    package = target / "src" / f"tieout_{name}"
    places = {target / "pyproject.toml": "pyproject.toml"}
    places |= {package / f"{'__init__' if part == 'init' else part}.py": f"{part}.py" for part in _PACKAGE}
    places |= {
        package / "MAPPING.md": "MAPPING.md",
        target / "src" / f"{name}_twin" / "__init__.py": "twin.py",
    }
    places |= {target / "tests" / f"{part}.py": f"{part}.py" for part in _TESTS}
    texts = files("tieout.cli") / "skeleton"
    return {
        path: renamed((texts / f"{source}.txt").read_text(encoding="utf-8"), name)
        for path, source in places.items()
    }


def renamed(text: str, name: str) -> str:
    """The skeleton's text with another vendor's name: as a word, in class names, in constants."""
    title = "".join(part.capitalize() for part in name.split("_"))
    for old, fresh in (
        (f"tieout-{_INVENTED}", f"tieout-{name.replace('_', '-')}"),
        (f"x-{_INVENTED}", f"x-{name.replace('_', '-')}"),
        (_INVENTED.upper(), name.upper()),
        (_INVENTED.capitalize(), title),
        (_INVENTED, name),
    ):
        text = text.replace(old, fresh)
    return text
