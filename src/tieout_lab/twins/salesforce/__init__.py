"""A Salesforce org over HTTP and gRPC: sign-in, records, SOQL, Collections, Composite, limits, recycle bin and merge,
change events by the Pub/Sub API, Outbound Messages.

What it leaves out, and where it knowingly differs from the vendor, is listed in README.md beside this file.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from tieout_lab.twins.calls import Handler, serve_calls
from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.kit import Request, Route
from tieout_lab.twins.salesforce.actions import Actions
from tieout_lab.twins.salesforce.bulk import Bulk
from tieout_lab.twins.salesforce.composite import Composite, only_reads
from tieout_lab.twins.salesforce.event_bus import EventBus
from tieout_lab.twins.salesforce.feed_actions import FeedActions
from tieout_lab.twins.salesforce.oauth import SignIn, private_pem
from tieout_lab.twins.salesforce.outbound_messages import OutboundMessages
from tieout_lab.twins.salesforce.pubsub import PubSub
from tieout_lab.twins.salesforce.queries import Queries
from tieout_lab.twins.salesforce.seed import plant
from tieout_lab.twins.salesforce.sobject_collections import Collections
from tieout_lab.twins.salesforce.sobjects import Records
from tieout_lab.twins.salesforce.tree import Tree
from tieout_lab.twins.salesforce.values import Answer
from tieout_lab.twins.salesforce.web import NEWEST, RestTwin, versions

__all__ = ["SalesforceTwin", "create"]

USERNAME = "integration@tieout-demo.example"


class SalesforceTwin(RestTwin):
    """One org with one registered app and one integration user."""

    def __init__(
        self,
        clock: TwinClock,
        *,
        prefix: str = "Tieout_",
        namespace: str = "SBQQ",
        seed: str = "salesforce-main",
        session_seconds: float = 7200.0,
        daily_requests: int = 100_000,
        sandbox: bool = True,
        pubsub_port: int = 0,
    ) -> None:
        super().__init__(
            clock,
            prefix=prefix,
            namespace=namespace,
            seed=seed,
            session_seconds=session_seconds,
            daily=daily_requests,
        )
        key, secret = f"3MVG9.{seed}.consumer", f"{seed}.client-secret"
        self.sign_in = SignIn(self, consumer_key=key, client_secret=secret, username=USERNAME)
        self.public("GET", "/services/data", "versions", lambda _: Answer(200, versions()))
        self.data("GET", "", "resources", self._resources)
        self.data("GET", "/limits", "limits", self._limits)
        self.queries = Queries(self)
        self.records = Records(self, self.queries)
        self.collections = Collections(self, self.records)
        self.composite = Composite(self, self.collections)
        self.bulk = Bulk(self)
        self.tree = Tree(self)
        self.control = Actions(self)
        plant(self.org, username=USERNAME, sandbox=sandbox)
        self.pubsub = PubSub(self, EventBus(self.org, clock, seed=seed))
        self.outbound_messages = OutboundMessages(self)
        self.org.store.on_commit += [self.pubsub.bus.committed, self.outbound_messages.committed]
        FeedActions(self)
        # 0: the Pub/Sub API is not served over a socket; the simulation calls it in process.
        self.pubsub_port = pubsub_port
        self._server: Any = None

    @property
    def calls(self) -> dict[str, Handler]:
        """The gRPC methods by path."""
        return self.pubsub.calls

    @override
    async def open(self) -> None:
        if self.pubsub_port:
            self._server = await serve_calls(self.calls, self.pubsub_port)

    @override
    async def close(self) -> None:
        await super().close()
        await self.outbound_messages.close()
        if self._server is not None:
            await self._server.stop(None)

    def _resources(self, request: Request) -> Answer:
        base = f"/services/data/v{request.params['version']}"
        names = ("composite", "jobs", "limits", "query", "queryAll", "sobjects")
        identity = f"/id/{self.org.org_id}/{self.org.integration_id}"
        return Answer(200, {**{name: f"{base}/{name}" for name in names}, "identity": identity})

    def _limits(self, request: Request) -> Answer:
        del request
        daily, left = self.budget.daily, max(0, self.budget.daily - self.budget.used())
        delivered = self.pubsub.delivered
        events = {"Max": delivered.daily, "Remaining": max(0, delivered.daily - delivered.used())}
        return Answer(200, {
            "ConcurrentAsyncGetReportInstances": {"Max": 200, "Remaining": 200},
            "DailyApiRequests": {"Max": daily, "Remaining": left},
            "DailyBulkApiBatches": {"Max": 15_000, "Remaining": 15_000},
            "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000},
            "DailyDeliveredPlatformEvents": events,
            "DataStorageMB": {"Max": 1024, "Remaining": 1000},
            "FileStorageMB": {"Max": 1024, "Remaining": 1000},
            "PermissionSets": {"Max": 1500, "Remaining": 1499, "CreateCustom": {"Max": 1000, "Remaining": 999}},
        })  # fmt: skip

    @override
    def writes(self, route: Route, request: Request) -> bool:
        """A composite of nothing but GETs is a read in the journal and in the fault plan."""
        if route.operation in ("composite", "composite_batch"):
            return not only_reads(request)
        return super().writes(route, request)

    @override
    def describe(self, url: str) -> dict[str, Any]:
        """What a client needs: both sign-ins, the org, the version to pin."""
        return {
            "url": url,
            "login_url": url,
            "pubsub_url": f"http://127.0.0.1:{self.pubsub_port}" if self.pubsub_port else url,
            "org_id": self.org.org_id,
            "consumer_key": self.sign_in.consumer_key,
            "client_secret": self.sign_in.client_secret,
            "username": self.sign_in.username,
            "private_key": private_pem(self.sign_in.key),
            "api_version": f"{NEWEST}.0",
        }


def create(clock: TwinClock) -> SalesforceTwin:
    """A fresh org, a sandbox, with the demo company's products and prices."""
    return SalesforceTwin(clock)
