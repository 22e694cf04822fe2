"""The real server as a process: its environment, its template database, a copy of that for each run.

The environment is made once per state of `requirements.txt`, the template once per state of what plants it; both are
found again by a hash in their names. PostgreSQL is the caller's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from copy import copy as another
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tieout_lab import environments
from tieout_lab.environments import NotThere, ends_with_us, free_port
from tieout_lab.tryton import seed
from tieout_lab.tryton.rpc import Refused, Rpc

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
MODULES = ("account_invoice", "analytic_invoice")
USER, PASSWORD = "admin", "tieout-lab"  # of a database that lives as long as a run
ENVIRONMENT = ("TIEOUT_TRYTON_POSTGRES", "TIEOUT_TEST_POSTGRES")
DEFAULT_POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"
_START_SECONDS = 60
_LOCK = 0x74696F75  # an advisory lock: one process at a time makes the template


def postgres_url(given: str = "") -> str:
    """The PostgreSQL to use: as given, else by environment, else the usual one on loopback. Raises NotThere."""
    named = given or next((os.environ[name] for name in ENVIRONMENT if os.environ.get(name)), "")
    url = named or DEFAULT_POSTGRES
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.Error as error:
        how = "it was named" if named else f"the default; name another by --postgres or {ENVIRONMENT[0]}"
        raise NotThere(
            f"PostgreSQL is needed, and {_shown(url)} ({how}) does not answer: {str(error).splitlines()[0]}"
        ) from error
    return url


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


# -- the environment --------------------------------------------------------------------------------------------------


def environment() -> Path:
    """The folder of the environment's programs, made when it is not there yet. Raises NotThere."""
    return environments.environment(REQUIREMENTS, "tryton")


# -- databases --------------------------------------------------------------------------------------------------------


def template(postgres: str) -> str:
    """The name of the template database, made when it is not there yet: the modules' tables, and the demo companies.
    Takes a minute the first time. Raises NotThere."""
    material = REQUIREMENTS.read_bytes() + (HERE / "seed.py").read_bytes()
    name = f"tieout_tryton_{hashlib.sha256(material).hexdigest()[:12]}"
    with psycopg.connect(postgres, autocommit=True) as link:
        link.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        if not link.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            making = f"{name}_making"
            _drop(link, making)
            link.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(
                    sql.Identifier(making)
                )
            )
            _plant(postgres, making)
            link.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(making), sql.Identifier(name))
            )
    return name


def _plant(postgres: str, database: str) -> None:
    with tempfile.TemporaryDirectory(prefix="tieout-tryton-") as folder:
        server = Server(postgres, database, Path(folder))
        secret = Path(folder) / "password"
        secret.write_text(PASSWORD)
        done = subprocess.run(  # noqa: S603 - our own environment
            [
                *(str(environment() / "trytond-admin"), "-c", str(server.configuration()), "-d", database),
                *(
                    "--all",
                    "--email",
                    "lab@tieout.example",
                    "-l",
                    "en",
                    "--activate-dependencies",
                    "-u",
                    *MODULES,
                ),
            ],
            env={**os.environ, "TRYTONPASSFILE": str(secret)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise NotThere(f"Tryton could not make its tables:\n{last}")
        server.start()
        try:
            seed.plant(server.rpc())
        finally:
            server.stop()
    with psycopg.connect(psycopg.conninfo.make_conninfo(postgres, dbname=database)) as link:
        seed.unhash(link, USER, PASSWORD)


def copy(postgres: str, database: str) -> None:
    """A fresh copy of the template under this name; what stood there before is gone. Raises NotThere."""
    source = template(postgres)
    with psycopg.connect(postgres, autocommit=True) as link:
        # Two copies at once would each see the other as a user of the template.
        link.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        _drop(link, database)
        link.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(database), sql.Identifier(source))
        )
        # Its wide queries over small tables look worth compiling, which takes longer than they do.
        link.execute(sql.SQL("ALTER DATABASE {} SET jit = off").format(sql.Identifier(database)))
        # A copy lives as long as a run. The disk is still writing the copy when the first sign-in commits: it waited
        # for more than four seconds on two machines.
        link.execute(
            sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(database))
        )


def drop(postgres: str, database: str) -> None:
    """Remove a database, whoever is connected to it."""
    with psycopg.connect(postgres, autocommit=True) as link:
        _drop(link, database)


def exists(postgres: str, database: str) -> bool:
    """Whether there is a database of this name."""
    with psycopg.connect(postgres, autocommit=True) as link:
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        return link.execute(query, (database,)).fetchone() is not None


def sweep(postgres: str, lab: str) -> list[str]:
    """Remove the lab's database, and copies of runs that were killed: those that nobody is connected to, and whose
    process (its number is in the name) is gone: one that has just been made has no connection yet. Templates stay."""
    with psycopg.connect(postgres, autocommit=True) as link:
        rows = link.execute(
            "SELECT datname FROM pg_database d WHERE (datname = %s OR datname ~ '^tieout_tryton_(demo|test|bench)_')"
            " AND NOT EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.datname = d.datname)",
            (lab,),
        ).fetchall()
        names = [str(name) for (name,) in rows if not _alive(str(name))]
        for name in names:
            _drop(link, name)
    return names


def _alive(database: str) -> bool:
    """Whether the process that made a copy still runs."""
    found = re.search(r"_(\d+)(_|$)", database)
    if found is None:
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _drop(link: psycopg.Connection[tuple[object, ...]], database: str) -> None:
    link.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


# -- the process ------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """One process over one database. `folder` holds its configuration and its log; `session_seconds` is how long a
    session may idle. Unless it is `lasting`, it ends with this process, whatever becomes of that."""

    postgres: str
    database: str
    folder: Path
    port: int = 0
    session_seconds: int = 3600
    lasting: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _signed_in: Rpc | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.port = self.port or free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def describe(self) -> dict[str, str]:
        """What a client needs to talk to it, credentials included."""
        return {"url": self.url, "database": self.database, "username": USER, "password": PASSWORD}

    def configuration(self) -> Path:
        """Write the server's configuration; answers its path."""
        parts = urlsplit(self.postgres)
        address = urlunsplit(parts._replace(path="/", query="", fragment=""))
        path = self.folder / "trytond.conf"
        path.write_text(
            f"[web]\nlisten = 127.0.0.1:{self.port}\n[database]\nuri = {address}\n"
            f"[session]\ntimeout = {self.session_seconds}\nmax_attempt = 1000\n[password]\nlength = 4\n"
            # Printed invoices wait for a worker that is not there; else each posting would print before it answers.
            "[queue]\nworker = True\n"
        )
        path.chmod(0o600)
        return path

    def start(self) -> None:
        """Start, and wait until it answers. Raises NotThere."""
        programs = environment()
        # One that lasts is ended by `tieout lab tryton down`.
        launcher = [] if self.lasting else ends_with_us(programs / "python")
        with (self.folder / "trytond.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own environment
                [*launcher, str(programs / "trytond"), "-c", str(self.configuration()), "-d", self.database],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_plain(os.environ),
                # A Ctrl-C at the terminal is its owner's to handle.
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                last = "\n".join((self.folder / "trytond.log").read_text(errors="replace").splitlines()[-5:])
                raise NotThere(f"Tryton did not start:\n{last}")
            time.sleep(0.1)

    def answers(self) -> bool:
        """Whether it lets its user in."""
        try:
            self.rpc()
        except (OSError, Refused, ValueError):
            return False
        return True

    def rpc(self) -> Rpc:
        """A client of the lab's own, for the user's own company; all of them share a session, because to sign in takes
        longer than to look. Raises Refused, OSError."""
        if self._signed_in is None:
            self._signed_in = Rpc(self.url, self.database, USER, PASSWORD)
        self._signed_in.company(None)
        return another(self._signed_in)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a machine that is gone."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End it. There is nothing that it would have to put in order: what is not committed is rolled back."""
        self.kill()


def _plain(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process without what would reach into the other's."""
    return {name: value for name, value in environ.items() if not name.startswith(("PYTHON", "TIEOUT_"))}


@contextlib.contextmanager
def served(postgres: str, name: str, *, session_seconds: int = 3600) -> Iterator[Server]:
    """A server over a fresh copy of the template; both are gone afterwards. Raises NotThere."""
    copy(postgres, name)
    try:
        with tempfile.TemporaryDirectory(prefix="tieout-tryton-") as folder:
            server = Server(postgres, name, Path(folder), session_seconds=session_seconds)
            server.start()
            try:
                yield server
            finally:
                server.stop()
    finally:
        drop(postgres, name)
