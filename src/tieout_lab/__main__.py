"""`python -m tieout_lab twins|demo`: the commands of the proving ground without the hub's."""

from __future__ import annotations

import typer

from tieout_lab import cli

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("twins")(cli.twins)
app.command("demo")(cli.demo)

if __name__ == "__main__":
    app()
