"""The house rules that no ready-made tool knows, as lints over the source.

Each lint is a function from a source tree (a folder that holds `tieout/` and `tieout_lab/`) to findings;
`tests/unit/test_house_rules.py` runs them over `src/` and proves on planted snippets that each can fail.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

LINES_WORTH_A_LOOK = 400
LINES_TOO_MANY = 600


@dataclass(frozen=True)
class Finding:
    """One place that breaks a rule."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Source:
    """One file of the tree; `path` is relative to it, as in `tieout/canonical/money.py`."""

    path: str
    text: str

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.path).parts

    @property
    def is_hub(self) -> bool:
        return self.parts[0] == "tieout"

    @property
    def connector(self) -> str | None:
        """The connector's folder this file lies in, if it does."""
        inside = self.parts[:2] == ("tieout", "connectors") and len(self.parts) > 3
        return self.parts[2] if inside else None

    @property
    def tree(self) -> ast.Module:
        return _parse(self.text, self.path)

    def finding(self, node: ast.AST, what: str) -> Finding:
        return Finding(self.path, getattr(node, "lineno", 1), what)


@cache
def _parse(text: str, path: str) -> ast.Module:
    tree = ast.parse(text, filename=path)
    for parent in ast.walk(tree):
        for child in ast.iter_child_nodes(parent):
            child.parent = parent  # type: ignore[attr-defined]
    return tree


def sources(root: Path, *suffixes: str) -> list[Source]:
    found = []
    for path in sorted(root.rglob("*")):
        if path.suffix in (suffixes or (".py",)) and path.is_file() and "__pycache__" not in path.parts:
            relative = path.relative_to(root).as_posix()
            if relative.split("/")[0] in {"tieout", "tieout_lab"}:
                found.append(Source(relative, path.read_text(encoding="utf-8")))
    return found


def _ancestors(node: ast.AST) -> Iterator[ast.AST]:
    while (parent := getattr(node, "parent", None)) is not None:
        yield parent
        node = parent


def imports(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Every module, and every name taken from a module, that the file imports, in full."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            for alias in node.names:
                yield node, f"{node.module}.{alias.name}"


def _full_names(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Every use of something imported, in full: `t.time` after `import time as t` is `time.time`."""
    meaning: dict[str, str] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    meaning[alias.asname] = alias.name
                else:
                    head = alias.name.split(".")[0]
                    meaning[head] = head
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                meaning[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Attribute | ast.Name):
            continue
        if isinstance(getattr(node, "parent", None), ast.Attribute):
            continue  # the longest chain speaks for its parts
        chain: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in meaning:
            yield node, ".".join([meaning[inner.id], *reversed(chain)])


# ------------------------------------------------------------------------------------ (a) no float near money

_MEASURE = re.compile(r"(^|_)(seconds|ratio|factor|monotonic|jitter)$", re.IGNORECASE)


def _is_money_code(source: Source) -> bool:
    return source.parts[1] in {"canonical", "finance", "masterdata"} or (
        source.connector is not None and source.parts[-1] == "mapping.py"
    )


def _names_a_measure(node: ast.AST) -> bool:
    """Whether what the float belongs to (target, argument, function) is a time, a ratio or a factor."""
    for ancestor in _ancestors(node):
        names: list[str] = []
        if isinstance(ancestor, ast.arg | ast.keyword):
            names = [ancestor.arg or ""]
        elif isinstance(ancestor, ast.AnnAssign | ast.AugAssign):
            names = [ast.unparse(ancestor.target)]
        elif isinstance(ancestor, ast.Assign):
            names = [ast.unparse(target) for target in ancestor.targets]
        elif isinstance(ancestor, ast.FunctionDef | ast.AsyncFunctionDef):
            return bool(_MEASURE.search(ancestor.name))
        if any(_MEASURE.search(name) for name in names):
            return True
        if isinstance(ancestor, ast.arg):
            return False
    return False


def _in_isinstance(node: ast.AST) -> bool:
    return any(
        isinstance(ancestor, ast.Call)
        and isinstance(ancestor.func, ast.Name)
        and ancestor.func.id in {"isinstance", "issubclass"}
        for ancestor in _ancestors(node)
    )


def floats_near_money(root: Path) -> list[Finding]:
    """Money, quantity and rate are integers or Decimal.

    In `canonical`, `finance`, `masterdata` and every connector's `mapping.py` there is no float at all.
    Elsewhere in the hub a float must belong to a name that ends in `seconds`, `ratio` or `factor`, or to the
    ports' `monotonic` and `jitter`. In connectors, JSON is parsed with Decimal for its numbers.
    `isinstance(x, float)`, which refuses one, is welcome everywhere.
    """
    found = []
    for source in sources(root):
        if not source.is_hub:
            continue
        money = _is_money_code(source)
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, float) and money:
                found.append(source.finding(node, f"float literal {node.value} in money code"))
            elif isinstance(node, ast.Name) and node.id == "float" and not _in_isinstance(node):
                if money:
                    found.append(source.finding(node, "float in money code"))
                elif not _names_a_measure(node):
                    found.append(source.finding(node, "float for a name that is no seconds, ratio or factor"))
        if source.parts[1] == "connectors":
            calls = {id(node.func): node for node in ast.walk(source.tree) if isinstance(node, ast.Call)}
            for node, name in _full_names(source):
                given = {keyword.arg for call in [calls.get(id(node))] if call for keyword in call.keywords}
                if name in {"json.load", "json.loads"} and "parse_float" not in given:
                    found.append(source.finding(node, f"{name} without parse_float=Decimal"))
                if name == "msgspec.json.decode" and "type" not in given:
                    found.append(source.finding(node, "msgspec.json.decode without a type makes floats"))
    return found


# ----------------------------------------------------- (b) clock, chance, sleep and sockets only by the ports

_FORBIDDEN_NAMES = re.compile(
    r"""datetime\.datetime\.(now|utcnow|today) | datetime\.date\.today
      | time\.(time|monotonic|perf_counter|process_time|thread_time)(_ns)? | time\.(sleep|localtime|gmtime)
      | random(\..+)? | secrets\.(?!compare_digest$).+ | os\.(urandom|getrandom)
      | (uuid|uuid_utils|uuid_utils\.compat)\.uuid[1-9]
      | (asyncio|anyio|trio)\.sleep
      | (aiohttp|httpx|requests|urllib\.request|http\.client)(\..+)?
      | socket\.(socket|create_connection|getaddrinfo)
      | asyncio\.open_(unix_)?connection""",
    re.VERBOSE,
)


def _implements_ports(source: Source) -> bool:
    """Where the real clock, chance and sockets are: `tieout/system.py`, or a package of that name."""
    return source.parts[1] in {"system.py", "system"}


def unported(root: Path) -> list[Finding]:
    """Nothing of the hub reads a clock, a random number or a socket but by the ports."""
    found = []
    for source in sources(root):
        if not source.is_hub or _implements_ports(source):
            continue
        for node, name in _full_names(source):
            if _FORBIDDEN_NAMES.fullmatch(name):
                found.append(source.finding(node, f"{name} outside the ports (tieout/system.py)"))
    return found


# ----------------------------------------------------------------- (c) a vendor's name only in its own folder

_HOME_OF: dict[str, tuple[str, ...]] = {
    "salesforce": ("salesforce",),
    "stripe": ("stripe",),
    "netsuite": ("netsuite",),
    "chargebee": ("chargebee",),
    "zuora": ("zuora",),
    "recurly": ("recurly",),
    "tryton": ("tryton",),
    "dynamics": ("business_central", "dynamics_finance"),
    "sap": ("sap",),
    "oracle": ("oracle", "netsuite"),  # whose owner is Oracle
}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def _words(text: str) -> set[str]:
    """The words of a text, identifiers taken apart: `StripeClient` holds "stripe", "striped" does not."""
    joined = re.sub(r"(?i)net_?suite", "Netsuite", text).replace("SalesForce", "Salesforce")
    return {word.lower() for word in _WORD.findall(joined)}


def vendor_names(root: Path) -> list[Finding]:
    """Above the connectors there are roles (crm, billing, erp), not vendors."""
    found = []
    for source in sources(root, ".py", ".html", ".css", ".js", ".sql", ".toml", ".mako", ".md"):
        if not source.is_hub or source.path == "tieout/connectors/registry.py":
            continue
        for vendor in _words(source.path) & _HOME_OF.keys():
            if source.connector not in _HOME_OF[vendor]:
                found.append(Finding(source.path, 0, f"{vendor} in the path of a file"))
        for number, line in enumerate(source.text.splitlines(), start=1):
            for vendor in sorted(_words(line) & _HOME_OF.keys()):
                if source.connector not in _HOME_OF[vendor]:
                    found.append(Finding(source.path, number, f"{vendor} outside its own folder"))
    return found


# ---------------------------------------------------------------------- (d) connectors, and twins, keep apart


def crossed_imports(root: Path) -> list[Finding]:
    """A connector imports the shared part of `connectors/` and itself; a twin imports twins alone."""
    found = []
    for source in sources(root):
        for node, name in imports(source):
            target = name.split(".")
            if source.is_hub and target[:2] == ["tieout", "connectors"] and len(target) > 2:
                other = target[2]
                folder = (root / "tieout" / "connectors" / other).is_dir()
                if folder and source.connector is not None and other != source.connector:
                    found.append(source.finding(node, f"connector {source.connector} imports {other}"))
                elif folder and source.connector is None and source.path != "tieout/connectors/registry.py":
                    found.append(
                        source.finding(node, f"imports the connector {other}; only the registry may")
                    )
            if source.parts[:2] == ("tieout_lab", "twins") and (
                target[0] == "tieout" or (target[0] == "tieout_lab" and target[1:2] != ["twins"])
            ):
                found.append(source.finding(node, f"a twin imports {name}"))
    return found


# ---------------------------------------------------------------------------------- (e) SQL only in the store

_SQL = re.compile(r"\b(SELECT\s|INSERT\s+INTO\b|UPDATE\s|DELETE\s+FROM\b)")
_DRIVERS = {"sqlalchemy", "alembic", "psycopg", "psycopg_pool", "sqlite3", "aiosqlite"}


def _docstrings(tree: ast.Module) -> set[int]:
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }


def stray_sql(root: Path) -> list[Finding]:
    """The store alone has SQL or a driver. A vendor's query language, in its own folder, is no SQL."""
    found = []
    for source in sources(root):
        if not source.is_hub or source.parts[1] == "store":
            continue
        for node, name in imports(source):
            if name.split(".")[0] in _DRIVERS:
                found.append(source.finding(node, f"{name} outside the store"))
        if source.connector is not None:
            continue
        docstrings = _docstrings(source.tree)
        for node in ast.walk(source.tree):
            if (
                not isinstance(node, ast.Constant)
                or not isinstance(node.value, str)
                or id(node) in docstrings
            ):
                continue
            if match := _SQL.search(node.value):
                found.append(source.finding(node, f"SQL ({match[0].strip()}) outside the store"))
    return found


# --------------------------------------------------------------------------------- (f) length, (g) unfinished


def long_files(root: Path, over: int = LINES_WORTH_A_LOOK) -> list[tuple[Path, int]]:
    """Files longer than that, the longest first."""
    counted = [(root / source.path, source.text.count("\n")) for source in sources(root)]
    return sorted(((path, lines) for path, lines in counted if lines > over), key=lambda pair: -pair[1])


def too_long(root: Path) -> list[Finding]:
    """A file over 600 lines hides a missing noun."""
    return [
        Finding(path.relative_to(root).as_posix(), lines, f"{lines} lines")
        for path, lines in long_files(root, LINES_TOO_MANY)
    ]


_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")


def unfinished(root: Path) -> list[Finding]:
    """Nothing in the source is left for later."""
    return [
        Finding(source.path, number, match[0])
        for source in sources(root)
        for number, line in enumerate(source.text.splitlines(), start=1)
        if (match := _UNFINISHED.search(line))
    ]
