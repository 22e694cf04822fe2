"""What `tieout check` asks: who answers, and whether API version, objects, fields and allowance are as we need them."""

from __future__ import annotations

from dataclasses import dataclass

from tieout.canonical.outcome import Failure, Misconfigured
from tieout.connectors.contract import Finding, Identity
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import sold, wire
from tieout.connectors.salesforce.budget import RESERVE_PERCENT, SLOW_PERCENT
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.mapping import Org


@dataclass(frozen=True, slots=True)
class Need:
    """What we need of one object: fields to read, fields to write, whether records are made, and its key field."""

    sobject: str
    reads: tuple[str, ...]
    writes: tuple[str, ...] = ()
    creates: bool = False
    key: str = ""


class Preflight:
    """`Checker` of one connection."""

    def __init__(self, client: Client, org: Org) -> None:
        self._client = client
        self._org = org

    async def identity(self) -> Identity:
        """The org that answered at sign-in. Raises Failure."""
        token = await self._client.token()
        return Identity(
            organisation=token.organisation, account=token.organisation, live=self._org.config.live
        )

    async def check(self) -> tuple[Finding, ...]:
        """Everything that is wrong, at once; the first findings stop the rest only where sign-in fails."""
        subject = self._org.connection
        try:
            identity = await self.identity()
        except Failure as error:
            return (failed(subject, error),)
        findings = [Finding(level="ok", subject=subject, message=f"signed in to org {identity.organisation}")]
        if not self._org.config.org_id:
            findings.append(
                Finding(
                    level="warning",
                    subject=subject,
                    message="the connection is not pinned to an org",
                    remedy=f'write org_id = "{identity.organisation}"',
                )
            )
        findings += await self._versions(subject)
        for need in needs(self._org):
            findings += await self._object(subject, need)
        return (*findings, *allowance(subject, self._client.usage))

    async def _versions(self, subject: str) -> list[Finding]:
        wanted = self._org.config.api_version
        try:
            response = await self._client.read("/services/data/", "versions.fetch")
            offered = [version.version for version in wire.decode(wire.VERSIONS, response.body)]
        except Failure as error:
            return [failed(subject, error)]
        except BadBody as error:
            return [Finding(level="error", subject=subject, message=f"list of API versions: {error}")]
        if wanted in offered:
            return []
        newest = offered[-1] if offered else "none"
        return [
            Finding(
                level="error",
                subject=subject,
                message=f"the org does not offer API version {wanted}; its newest is {newest}",
                remedy=f'write api_version = "{newest}"',
            )
        ]

    async def _object(self, subject: str, need: Need) -> list[Finding]:
        path = f"{self._client.data}/sobjects/{need.sobject}/describe"
        try:
            described = wire.decode(wire.DESCRIBED, (await self._client.read(path, "describe.fetch")).body)
        except Failure as error:
            return [
                Finding(
                    level="error",
                    subject=f"{subject} {need.sobject}",
                    message=f"cannot be described: {failed(subject, error).message}",
                    remedy=f"deploy {need.sobject} and give the integration user read access to it",
                )
            ]
        except BadBody as error:
            return [Finding(level="error", subject=f"{subject} {need.sobject}", message=str(error))]
        return lacking(subject, need, described)


def needs(org: Org) -> tuple[Need, ...]:
    """The objects and fields that this connection reads and writes."""
    names, config = org.names, org.config

    def some(*fields: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(field for field in fields if field))

    return (
        Need(
            "Account",
            some(
                config.currency_field,
                names.account_tax_id,
                names.account_invoice_email,
                names.account_payment_terms,
                names.account_po_required,
            ),
            some(names.account_external_id, names.account_status, names.account_last_error),
        ),
        Need(
            "Opportunity",
            some(
                config.currency_field,
                org.approval,
                names.opportunity_legal_entity,
                names.opportunity_start,
                names.opportunity_end,
                names.opportunity_term_months,
                names.opportunity_frequency,
                names.opportunity_po_number,
            ),
            some(
                names.opportunity_external_id,
                names.opportunity_status,
                names.opportunity_last_error,
                names.opportunity_subscription,
                names.opportunity_synced_at,
            ),
        ),
        Need(
            "OpportunityLineItem",
            ("Product2Id", "Quantity", "UnitPrice", "Discount", "TotalPrice", "ServiceDate", "Description"),
        ),
        Need("Product2", some("ProductCode", names.product_charge_type)),
        Need(
            names.mirror_object,
            (),
            some(
                names.mirror_external_id,
                names.mirror_account,
                names.mirror_opportunity,
                names.mirror_amount,
                names.mirror_status,
                names.mirror_number,
                names.mirror_erp_document,
                names.mirror_erp_number,
                names.mirror_billing,
            ),
            creates=True,
            key=names.mirror_external_id,
        ),
        *source_needs(org),
    )


def source_needs(org: Org) -> tuple[Need, ...]:
    """What the declared order source needs besides."""
    source = org.config.order_source
    if source == "opportunity":
        return (Need("OpportunityLineItem", own_fields(sold.opportunity_line_columns(org))),)
    found = [
        Need("Order", own_fields(sold.order_columns(org))),
        Need("OrderItem", own_fields(sold.order_item_columns(org))),
    ]
    if source == "cpq_quote":
        cpq = org.config.cpq
        found[0] = Need("Order", (*found[0].reads, cpq.name("Quote")))
        found += [
            Need("Contract", own_fields(sold.contract_columns(org))),
            Need("Opportunity", tuple(map(cpq.name, sold.DEAL_FIELDS))),
            Need(cpq.name("Quote"), own_fields(sold.cpq_quote_columns(org))),
            Need(cpq.name("QuoteLine"), (*own_fields(sold.cpq_line_columns(org)), cpq.name("Number"))),
            Need(cpq.name("Subscription"), (*own_fields(sold.ledger_columns(org)), cpq.name("Contract"))),
        ]
    return tuple(found)


def own_fields(columns: str) -> tuple[str, ...]:
    """The object's own fields of a column list; those of a parent belong to the parent's object."""
    return tuple(name for name in columns.split(", ") if "." not in name)


def lacking(subject: str, need: Need, described: wire.Described) -> list[Finding]:
    """What an object lacks, field by field."""
    found: list[Finding] = []

    def error(field: str, message: str, remedy: str) -> None:
        where = f"{subject} {need.sobject}" + (f".{field}" if field else "")
        found.append(Finding(level="error", subject=where, message=message, remedy=remedy))

    if not described.queryable:
        error("", "this user may not read the object", "give it Read and View All in the permission set")
    if need.writes and not described.updateable:
        error("", "this user may not edit the object", "give it Edit in the permission set")
    if need.creates and not described.createable:
        error("", "this user may not create records", "give it Create in the permission set")
    fields = {field.name: field for field in described.fields}
    for name in (*need.reads, *need.writes):
        field = fields.get(name)
        if field is None:
            error(
                name,
                "missing, or hidden from this user by field-level security",
                "deploy the field and give it in the permission set, or name another one in `fields`",
            )
        elif name in need.writes and not (field.updateable or (need.key == name and field.createable)):
            error(name, "this user may not edit the field", "give it Edit in the permission set")
        elif name == need.key and not (field.external_id and field.unique):
            error(
                name,
                "is not both External ID and Unique: an upsert could find several records",
                "mark the field External ID and Unique",
            )
    return found


def allowance(subject: str, usage: wire.Usage | None) -> tuple[Finding, ...]:
    """How much of the day's API calls is left."""
    if usage is None:
        return ()
    message = f"{usage.used} of {usage.allowed} API calls of the last 24 hours used, {usage.left} left"
    if usage.percent < SLOW_PERCENT:
        return (Finding(level="ok", subject=subject, message=message),)
    message += "; polling slows down"
    message += " and listings wait" if usage.percent >= RESERVE_PERCENT else ""
    remedy = "find what else uses the org's API calls, or buy more; others share this allowance"
    return (Finding(level="warning", subject=subject, message=message, remedy=remedy),)


def failed(subject: str, error: Failure) -> Finding:
    """A read that did not succeed, as a finding."""
    outcome = error.outcome
    if isinstance(outcome, Misconfigured):
        return Finding(level="error", subject=subject, message=outcome.message, remedy=outcome.remedy)
    return Finding(level="error", subject=subject, message=str(error), remedy="try again later")
