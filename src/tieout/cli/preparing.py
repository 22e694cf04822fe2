"""`init` and `migrate`: from an empty folder to a hub that can start."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from tieout.app import descriptors
from tieout.cli.session import FINDING, Json, complain, options, print_json, say
from tieout.masterdata.tables import SHAPES
from tieout.settings import ConfigurationError
from tieout.store.revision import bring_up_to_date, newest

_HEAD = """\
# tieout: the configuration. `tieout check` says what is wrong with it, and how to mend it.
# A secret is never written here: "env:NAME" takes it from the environment, "file:PATH" from a file (mode 0600).

company = "example"               # stands in every effect key: never change it once documents were made
# rules = "rules"                 # the folder of the decision tables (CSV)
# local_mode = true               # one operator on this machine; the audit says that nobody checked

[database]
url = "sqlite:///tieout.db"       # or "postgresql://user@host/name", which carries many workers

[keys]
master = "tieout.key"             # made on first use; without it the database cannot be read: keep a copy elsewhere

[web]
host = "127.0.0.1"
port = 8700                       # webhooks at /hooks/<connection>, pages at /exceptions and /trace
# max_body_bytes = 1000000

# [buffer]                        # a broker that keeps webhooks while the database is away: pip install 'tieout[nats]'
# url = "nats://broker:4222"      # a JetStream stream of three copies; anything less is refused

[engine]
# lease_seconds = 60              # a worker that dies is replaced after this long
# runs_at_once = 64
# wait_days = 7                   # how long a document waits for another before it is an exception
# status_poll_seconds = 20
# most_crashes = 3                # after so many dead workers in a row the document they had in hand is set aside

# [groups.emea]                   # what only `tieout work --group emea` runs, on PostgreSQL: docs/scaling.md
# entities = ["de", "fr"]

# Who is told what tieout has made good: docs/events.md. Without a receiver nothing is written for it.
# [[outbox.webhooks]]
# name = "data-team"
# url = "https://hooks.example.com/tieout"
# secrets = ["env:TIEOUT_DATA_TEAM_SECRET"]   # tieout outbox secret

"""
_ENTITY = """\
# One section for each legal entity: its books, and where its documents go.
[[entities]]
code = "{code}"
name = "Example {upper}"
time_zone = "{zone}"              # IANA; accounting dates and periods are taken in it
functional_currency = "{currency}"
currencies = ["{currency}"]            # what it sells in
billing = "{billing}"
erp = "{erp}"
subsidiary = "{subsidiary}"                  # the ERP's own id
# zero_total = "ignore"           # or "post": what becomes of invoices over nothing
# write_off_tax_relief = false    # whether tax is taken back when a debt is written off
# dispute_lost = "person"         # or "write_off": who decides what becomes of a dispute that was lost
# unregistered_jurisdictions = ["DE"]   # where it sells and needs no tax registration; "*" = everywhere

[[entities.registrations]]        # tax registrations: the ship-to must be covered on the day
jurisdiction = "{jurisdiction}"
number = "..."
valid_from = 2020-01-01

"""
_RULES = {
    "products": "P1,PLATFORM,{billing},prod_PLATFORM,Platform,,",
    "items": "I1,prod_PLATFORM,{code},deferred,PLATFORM-DEF,2400,,,",
    "tax_codes": "T1,{code},*,0,EXEMPT,,",
    "terms": "N30,NET30,30,2,,",
    "accounts": "A1,{code},receivables,*,*,1100,,,",
}


def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where to; by default beside --config.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write a commented tieout.toml with every connector's own section, and the decision tables with an example row.

    Nothing that is there is overwritten.

    Examples:
      tieout init

      tieout init /etc/tieout
    """
    target = folder / options(context).config.name if folder != Path() else options(context).config
    files = {target: configuration(), **rules(target.parent / "rules")}
    standing = [path for path in files if path.exists()]
    if standing:
        raise ConfigurationError(f"nothing was written: {', '.join(map(str, standing))} stands already")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as out:
            out.write(text)
    if as_json:
        print_json({"written": [str(path) for path in files]})
        return
    for path in files:
        say(f"wrote {path}")
    say("Fill in what stands as ..., then: tieout check")


def configuration() -> str:
    """The commented configuration: the hub's own part, one legal entity, and what each connector says of itself."""
    names = _names()
    entity = _ENTITY.format(
        code="us",
        upper="Inc",
        zone="America/Los_Angeles",
        currency="USD",
        billing=names["billing"],
        erp=names["erp"],
        subsidiary="1",
        jurisdiction="US-CA",
    )
    return _HEAD + entity + "\n".join(one.example for one in descriptors())


def rules(folder: Path) -> dict[Path, str]:
    """The decision tables: the header and one example row each."""
    billing = _names()["billing"]
    found = {}
    for shape in SHAPES:
        row = _RULES[shape.table].format(billing=billing, code="us")
        found[folder / f"{shape.table}.csv"] = f"{','.join(shape.header)}\n{row}\n"
    return found


def _names() -> dict[str, str]:
    """The first connection of each role that the connectors' examples name."""
    names: dict[str, str] = {}
    for one in descriptors():
        text = re.sub(r"\$\{[^}]*\}", "", one.example)
        for name in tomllib.loads(text).get("connections", {}):
            for role in one.roles:
                names.setdefault(role, name)
    return names


def migrate(context: typer.Context, as_json: Json = False) -> None:
    """Bring the database's tables up to this release; a database that is not there is made.

    Examples:
      tieout migrate

      tieout --database postgresql://tieout@db/tieout migrate
    """
    given = options(context)
    before = bring_up_to_date(given.url(given.file()))
    now = newest()
    if as_json:
        print_json({"before": before, "now": now})
    elif before == now:
        say(f"the database is at revision {now} already")
    else:
        say(f"the database went from {'nothing' if not before else f'revision {before}'} to revision {now}")
    if not now:
        complain("this release has no migrations")
        raise typer.Exit(FINDING)
