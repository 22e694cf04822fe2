"""The section of one NetSuite connection in the configuration."""

from __future__ import annotations

import msgspec

from tieout.canonical.secret import Secret
from tieout.canonical.write import DocumentWrite, JournalWrite, Write

APPROVALS = ("off", "hub", "person")
ALGORITHMS = ("PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
MOST_ROWS = 1000  # of one page, by the vendor
MOST_IN_BATCH = 100  # records, by the vendor
NO_SECRET = Secret("")
SIGN_INS = {
    "oauth2": ("client_id", "certificate_id", "private_key"),
    "tba": ("consumer_key", "consumer_secret", "token_id", "token_secret"),
}


class NetSuiteConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One NetSuite account.

    `sign_in` is `oauth2` (client credentials: `client_id`, `certificate_id`, `private_key`, `algorithm`) or `tba`
    (token-based authentication: `consumer_key`, `consumer_secret`, `token_id`, `token_secret`). `account` pins the
    account id as the vendor writes it (`1234567_SB1`); an access token of another account stops the connection.
    `approval` says per subsidiary who approves a pending document, `journal_approval` who approves journals (a
    preference of the whole account); `currencies` holds each subsidiary's functional
    currency, `entities` our legal entity of each. `enforce_keys` False declares an account that takes a second
    document under one external id. `longest_seconds` is the vendor's limit of one synchronous request,
    `visibility_seconds` until a query shows what was saved (assumed); `page_size` rows come in one page of a query.
    At most `batch_size` documents go into one asynchronous batch (0: never; an account that does not enforce keys is
    sent none); its job is waited for `batch_seconds`, asked after every `job_poll_seconds` and then ever more seldom.
    `transform_credits` makes a credit memo out of the one invoice that it settles (`!transform`), which links the
    two, instead of by itself. The last four name what only some accounts have: a body field for the PO number, the
    payment method of refunds, the internal id of the custom price level, and of the primary accounting book where
    there are several. ValueError when it cannot be right."""

    url: str
    account: str
    sign_in: str = "oauth2"
    client_id: str = ""
    certificate_id: str = ""
    private_key: Secret = NO_SECRET
    consumer_key: str = ""
    consumer_secret: Secret = NO_SECRET
    token_id: str = ""
    token_secret: Secret = NO_SECRET
    live: bool = True
    algorithm: str = "PS256"
    in_flight: int = 4
    timeout_seconds: int = 60
    enforce_keys: bool = True
    longest_seconds: int = 900
    visibility_seconds: int = 60
    codes_seconds: int = 900
    page_size: int = 1000
    batch_size: int = MOST_IN_BATCH
    batch_seconds: int = 300
    job_poll_seconds: int = 2
    transform_credits: bool = False
    approval: dict[str, str] = {}
    journal_approval: str = "off"
    currencies: dict[str, str] = {}
    entities: dict[str, str] = {}
    po_field: str = ""
    refund_payment_method: str = ""
    custom_price_level: str = ""
    accounting_book: str = ""

    def __post_init__(self) -> None:
        if not self.url.startswith(("https://", "http://")):
            raise ValueError("url: write the whole address, https://<account>.suitetalk.api.netsuite.com")
        if self.sign_in not in SIGN_INS:
            raise ValueError(f"sign_in: one of {', '.join(SIGN_INS)}, not {self.sign_in!r}")
        if absent := [name for name in SIGN_INS[self.sign_in] if not getattr(self, name)]:
            raise ValueError(f"{', '.join(absent)}: needed for sign_in {self.sign_in!r}")
        if self.algorithm not in ALGORITHMS:
            raise ValueError(
                f"algorithm: one of {', '.join(ALGORITHMS)} (RS256 is not accepted by the vendor)"
            )
        if self.in_flight < 1 or self.timeout_seconds < 1:
            raise ValueError("in_flight and timeout_seconds: at least 1")
        if self.longest_seconds < 0 or self.visibility_seconds < 0:
            raise ValueError("longest_seconds and visibility_seconds: not below 0")
        if not 1 <= self.page_size <= MOST_ROWS:
            raise ValueError(f"page_size: 1 to {MOST_ROWS}")
        if not 0 <= self.batch_size <= MOST_IN_BATCH:
            raise ValueError(f"batch_size: 0 to {MOST_IN_BATCH}")
        if self.batch_seconds < 1 or self.job_poll_seconds < 1:
            raise ValueError("batch_seconds and job_poll_seconds: at least 1")
        routed = {f"approval.{subsidiary}": routing for subsidiary, routing in self.approval.items()}
        for setting, routing in {**routed, "journal_approval": self.journal_approval}.items():
            if routing not in APPROVALS:
                raise ValueError(f"{setting}: one of {', '.join(APPROVALS)}, not {routing!r}")
        for book in (self.refund_payment_method, self.custom_price_level, self.accounting_book):
            if book and not book.lstrip("-").isdigit():
                raise ValueError(f"{book!r}: an internal id is a number")

    @property
    def base(self) -> str:
        return self.url.rstrip("/")

    @property
    def two_phase(self) -> bool:
        """Whether any subsidiary holds documents for approval."""
        return any(routing != "off" for routing in self.approval.values())

    def approval_of(self, write: Write) -> str:
        """Who approves a document: `off`, `hub` or `person`. Payments and refunds are not routed."""
        match write:
            case DocumentWrite():
                return self.approval.get(write.subsidiary, "off")
            case JournalWrite():
                return self.journal_approval
            case _:
                return "off"

    def entity(self, subsidiary: str) -> str:
        """Our legal entity of a subsidiary; the subsidiary's own id where none is declared."""
        return self.entities.get(subsidiary, subsidiary)


EXAMPLE = """\
[connections.netsuite-main]
vendor = "netsuite"
role = "erp"
url = "https://1234567-sb1.suitetalk.api.netsuite.com"  # lower case, with a hyphen
account = "1234567_SB1"          # pinned: a token of another account stops the connection
live = false                     # a sandbox, release preview or test drive account is not live
client_id = "..."                # of the integration record, OAuth 2.0 client credentials switched on
certificate_id = "..."           # of the certificate mapping (Setup > Integration > OAuth 2.0 Client Credentials)
private_key = { env = "NETSUITE_PRIVATE_KEY" }  # PEM: RSA of 3072 or 4096 bits, or EC
algorithm = "PS256"              # or ES256
# sign_in = "tba"                # existing integrations: OAuth 1.0a with these four instead of the four above
# consumer_key = "..."
# consumer_secret = { env = "NETSUITE_CONSUMER_SECRET" }
# token_id = "..."
# token_secret = { env = "NETSUITE_TOKEN_SECRET" }
in_flight = 4                    # the limit is the whole account's: leave room for its other users
timeout_seconds = 60             # after that the outcome is unknown and is looked up
enforce_keys = true              # false: the account takes two documents under one external id
longest_seconds = 900            # the vendor goes on working on a request for so long
visibility_seconds = 60          # until a query shows what was saved
journal_approval = "off"         # who approves journal entries, where the account wants it: off, hub, person
batch_size = 100                 # documents in one asynchronous batch while calls are short; 0: one by one

[connections.netsuite-main.approval]    # per subsidiary: off, hub (tieout approves), person
1 = "off"
2 = "person"

[connections.netsuite-main.currencies]  # functional currency per subsidiary
1 = "USD"
2 = "JPY"

[connections.netsuite-main.entities]    # our legal entity per subsidiary
1 = "us"
2 = "jp"
"""
