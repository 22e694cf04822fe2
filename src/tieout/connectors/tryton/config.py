"""The section of one Tryton connection in the configuration."""

from __future__ import annotations

import msgspec

from tieout.canonical.secret import Secret

DATINGS = ("posting", "document")
MOST_ROWS = 1000
# Asked at every posting of what was issued before today; each is answered by its name, never all at once.
WARNINGS = ("invoice_payment_term", "invoice_date_future")


class TrytonConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Tryton database and one user of it.

    `dating` says which date a customer's invoice bears there: `posting` (the day on which it is posted; the document's
    own is the accounting date) or `document` (the document's own; then the strict sequence refuses one that is earlier
    than its last). `warnings` are the names of the server's questions that are answered with yes. `entities` holds our
    legal entity of each company id. Journals are named by code. `longest_seconds` is how long the server may still be
    at work after the client gave up, `visibility_seconds` until a search shows what was saved (both assumed).
    ValueError when it cannot be right."""

    url: str
    database: str
    username: str
    password: Secret
    live: bool = True
    in_flight: int = 3
    timeout_seconds: int = 60
    longest_seconds: int = 120
    visibility_seconds: int = 1
    codes_seconds: int = 900
    page_size: int = 500
    dating: str = "posting"
    warnings: tuple[str, ...] = WARNINGS
    entities: dict[str, str] = {}
    revenue_journal: str = "REV"
    cash_journal: str = "CASH"
    settling_journal: str = "MISC"
    general_journal: str = "MISC"

    def __post_init__(self) -> None:
        if not self.url.startswith(("https://", "http://")):
            raise ValueError("url: write the whole address, https://erp.example.com")
        if not self.database or "/" in self.database:
            raise ValueError("database: the name of one database, as the login window shows it")
        if self.dating not in DATINGS:
            raise ValueError(f"dating: one of {', '.join(DATINGS)}")
        if self.in_flight < 1 or self.timeout_seconds < 1:
            raise ValueError("in_flight and timeout_seconds: at least 1")
        if self.longest_seconds < 0 or self.visibility_seconds < 0:
            raise ValueError("longest_seconds and visibility_seconds: not below 0")
        if not 1 <= self.page_size <= MOST_ROWS:
            raise ValueError(f"page_size: 1 to {MOST_ROWS}")

    @property
    def endpoint(self) -> str:
        return f"{self.url.rstrip('/')}/{self.database}/rpc/"

    def entity(self, company: str) -> str:
        """Our legal entity of a company; the company's own id where none is declared."""
        return self.entities.get(company, company)


EXAMPLE = """\
[connections.tryton-main]
vendor = "tryton"
role = "erp"
url = "https://erp.example.com"
database = "tryton"
username = "tieout"              # a user of its own, whose company filter is "All" where it serves several companies
password = { env = "TRYTON_PASSWORD" }
live = false
in_flight = 3                    # reads beside it; documents are made and posted one at a time per company
timeout_seconds = 60             # after that the outcome is unknown and is looked up
longest_seconds = 120            # the server may go on working on a request for so long
visibility_seconds = 1
dating = "posting"               # or "document": then the strict sequence refuses an earlier date than its last
warnings = ["invoice_payment_term", "invoice_date_future"]  # answered with yes, by name
revenue_journal = "REV"
cash_journal = "CASH"
settling_journal = "MISC"        # of the moves that settle one document with another
general_journal = "MISC"         # of what has no document: payouts, disputes

[connections.tryton-main.entities]      # our legal entity per company id
1 = "us"
"""
