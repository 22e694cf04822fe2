"""`connectors`: which there are, and a folder to begin a new one in."""

from __future__ import annotations

import typer

app = typer.Typer(name="connectors", help="Which connectors there are, and the beginning of a new one.")
