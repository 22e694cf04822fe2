"""What we rely on: each behaviour with where it is said, and how sure we are of it."""

from __future__ import annotations

from tieout.connectors.contract import Behaviour

DOCUMENTED, ASSUMED = "documented", "assumed"


def _behaviour(id: str, state: str, source: str, text: str) -> Behaviour:
    return Behaviour(id=f"salesforce.{id}", text=text, source=source, state=state)


BEHAVIOURS = (
    _behaviour(
        "org_in_id_url",
        DOCUMENTED,
        "Help, OAuth 2.0 JWT Bearer Flow: the `id` of the token answer",
        "The token answer's id URL ends in the 18-character org id and the user id.",
    ),
    _behaviour(
        "session_expired_401",
        DOCUMENTED,
        "REST API Developer Guide, Status Codes and Error Responses",
        "401 INVALID_SESSION_ID means that nothing was done: signing in again and repeating the call is safe.",
    ),
    _behaviour(
        "upsert_by_external_id",
        DOCUMENTED,
        "REST API Developer Guide, Insert or Update (Upsert) a Record Using an External ID",
        "PATCH by a unique External Id makes at most one record; 201 new, 200 or 204 existing, 300 several.",
    ),
    _behaviour(
        "concurrent_upsert_duplicate_value",
        ASSUMED,
        "REST API Developer Guide lists DUPLICATE_VALUE; that a race of two upserts ends so is from the field",
        "Two upserts of one new key at once: one is refused with DUPLICATE_VALUE, and repeated it updates.",
    ),
    _behaviour(
        "row_lock_not_done",
        ASSUMED,
        "Error code documented; status 400 in the guide, 500 seen in the field",
        "UNABLE_TO_LOCK_ROW, whatever the status: nothing was written, asking again may help.",
    ),
    _behaviour(
        "request_limit_403",
        DOCUMENTED,
        "REST API Developer Guide, Status Codes and Error Responses; header Sforce-Limit-Info",
        "403 REQUEST_LIMIT_EXCEEDED: nothing was done; the allowance is the org's over 24 rolling hours.",
    ),
    _behaviour(
        "query_all_shows_deleted",
        DOCUMENTED,
        "REST API Developer Guide, QueryAll",
        "queryAll shows rows deleted or merged away (MasterRecordId) until they leave the recycle bin.",
    ),
    _behaviour(
        "query_all_subselect_shows_deleted",
        ASSUMED,
        "not said; lines carry IsDeleted and are filtered by it either way",
        "A sub-select under queryAll shows deleted child rows too.",
    ),
    _behaviour(
        "deleted_line_keeps_parent",
        ASSUMED,
        "not said",
        "A deleted opportunity line still shows OpportunityId, and relations of it can be filtered.",
    ),
    _behaviour(
        "stamp_before_commit",
        ASSUMED,
        "known from replication tools; the guide advises overlapping windows",
        "SystemModstamp is set before commit: rows can appear behind newer ones, within overlap_seconds.",
    ),
    _behaviour(
        "line_total_rounded",
        ASSUMED,
        "Object Reference, OpportunityLineItem.TotalPrice",
        "TotalPrice = Quantity x UnitPrice x (1 - Discount / 100), as Salesforce states it.",
    ),
    _behaviour(
        "composite_queries",
        DOCUMENTED,
        "REST API Developer Guide, Composite: at most 25 subrequests, five of them queries or collections",
        "Up to five queries go in one composite call, which counts once against the allowance.",
    ),
    _behaviour(
        "composite_counts_collections",
        DOCUMENTED,
        "REST API Developer Guide, Composite: queries and sObject Collections count among the five",
        "A Collections upsert and queries for the ids it made go in one composite call; parts run in order, and with "
        "allOrNone false each stands by itself.",
    ),
    _behaviour(
        "collections_results_in_order",
        DOCUMENTED,
        "REST API Developer Guide, sObject Collections; we use the order only where ids in the answer prove it",
        "Collections answer a result per record, in order; a refused upsert has no id; the status is 200 whatever "
        "became of them.",
    ),
    _behaviour(
        "composite_query_length",
        ASSUMED,
        "no figure is published for the address of a subrequest",
        "A query of about 20,000 characters can be an address inside a composite call.",
    ),
    _behaviour(
        "bulk_session_400",
        ASSUMED,
        "Bulk API 1.0 documents exceptionCode InvalidSessionId with 400; Bulk API 2.0 answers 401",
        "400 InvalidSessionId means that nothing was done, as 401 does.",
    ),
    _behaviour(
        "bulk_query_results",
        DOCUMENTED,
        "Bulk API 2.0 Developer Guide, Get Results for a Query Job",
        "Sforce-Locator leads on, the text null ends; Sforce-NumberOfRecords counts the rows of a page.",
    ),
    _behaviour(
        "bulk_ingest_results",
        DOCUMENTED,
        "Bulk API 2.0 Developer Guide: successful, failed and unprocessed results",
        "JobComplete is no success: every row is in one of three files, with its own columns, in any order.",
    ),
    _behaviour(
        "bulk_empty_cell",
        ASSUMED,
        "Bulk API 2.0 Developer Guide, Prepare CSV Files; that #N/A means null is the same page",
        "An empty cell leaves a field as it is, #N/A clears it.",
    ),
    _behaviour(
        "order_status_codes",
        ASSUMED,
        "Object Reference, Order.StatusCode: Draft, Activated; the others are from orgs",
        "StatusCode is Draft, Activated, Canceled or Expired whatever the org calls its Status.",
    ),
    _behaviour(
        "reduction_negative",
        ASSUMED,
        "Object Reference, Order.IsReductionOrder; whether quantities are negative is not said: the sign is ignored",
        "An activated reduction order takes back lines named by OriginalOrderItemId.",
    ),
    _behaviour(
        "cpq_amendment_deltas",
        ASSUMED,
        "connectors and an org's dump; no public reference of the package's objects",
        "An amendment quote shows new totals in Quantity and deltas in EffectiveQuantity; order products and "
        "subscriptions carry the deltas; a subscription's quantity is the sum of its revisions.",
    ),
    _behaviour(
        "cpq_net_price",
        ASSUMED,
        "the package's price waterfall as its users describe it",
        "NetPrice is one unit's price for the whole term: divided by ProrateMultiplier it is that of "
        "DefaultSubscriptionTerm; NetTotal is the line's, NetAmount the quote's.",
    ),
    _behaviour(
        "cpq_inclusive_ends",
        ASSUMED,
        "Contract.EndDate is documented as the last day; quotes, lines and subscriptions are the same in the field",
        "Every end date of the package is the last day.",
    ),
    _behaviour(
        "subselect_pages",
        DOCUMENTED,
        "REST API Developer Guide, Query More Results",
        "A sub-select has totalSize, done and nextRecordsUrl of its own.",
    ),
    _behaviour(
        "replay_position",
        DOCUMENTED,
        "Pub/Sub API guide and pubsub_api.proto: FetchRequest, FetchResponse, event retention of 72 hours",
        "A subscription CUSTOM starts after the replay id; an empty answer within 270 s brings a fresh one.",
    ),
    _behaviour(
        "replay_id_refused",
        ASSUMED,
        "error codes seen in clients: sfdc.platform.eventbus.grpc.subscription.fetch.replayid.*",
        "A replay id that is unknown or too old ends the stream with an error-code that holds `replayid`.",
    ),
    _behaviour(
        "events_after_commit",
        ASSUMED,
        "Change Data Capture Developer Guide: events are published when the transaction commits",
        "When a change event arrives, a query shows the change that it tells of.",
    ),
    _behaviour(
        "change_bitmaps",
        DOCUMENTED,
        "Change Data Capture Developer Guide, ChangeEventHeader Fields",
        "changedFields, nulledFields and diffFields are bitmaps over the fields of that event's own schema.",
    ),
    _behaviour(
        "gap_named",
        DOCUMENTED,
        "Change Data Capture Developer Guide, Gap Events and Overflow Events",
        "Changes of which no event could be made are told by a GAP event of their object.",
    ),
    _behaviour(
        "deletion_log",
        ASSUMED,
        "REST API Developer Guide, Get Deleted; that it also lists purged records is not said",
        "sobjects/X/deleted lists what was deleted in a span, also after the recycle bin was emptied.",
    ),
    _behaviour(
        "outbound_message_ack",
        DOCUMENTED,
        "SOAP API Developer Guide, Understanding Outbound Messaging",
        "A message counts as taken only by 200 with Ack true; until then it is sent again, for 24 hours.",
    ),
    _behaviour(
        "longest_write",
        ASSUMED,
        "no figure for REST writes is published",
        "A write whose answer was lost ends within 600 seconds.",
    ),
)
