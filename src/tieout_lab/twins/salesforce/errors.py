"""What Salesforce answers when it refuses: `[{"message", "errorCode", "fields"?}]` with an HTTP status.

Texts and codes: `rest_bulk_samples.json` of the specification folder, REST API Developer Guide "Status Codes and Error
Responses", and error texts quoted in public issue threads of Salesforce clients.
"""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.kit import Response

_APPEND_C = (
    " If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. Please"
    " reference your WSDL or the describe call for the appropriate names."
)


class SalesforceError(Exception):
    """A refusal. `fields` is None where the vendor leaves the key out."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        fields: list[str] | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.more = more or {}  # what only the answer for a single record shows
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields

    def body(self) -> list[dict[str, Any]]:
        """The body of a single-record or resource answer."""
        entry: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields is not None:
            entry["fields"] = self.fields
        return [entry | self.more]

    def result(self, record_id: str | None = None) -> dict[str, Any]:
        """The entry of this record in a Collections answer (`statusCode` there, not `errorCode`)."""
        error = {"statusCode": self.code, "message": self.message, "fields": self.fields or []}
        failed: dict[str, Any] = {"success": False, "errors": [error]}
        return {"id": record_id, **failed} if record_id else failed

    def response(self) -> Response:
        return Response(self.status, self.body())


def not_found(message: str = "The requested resource does not exist") -> SalesforceError:
    return SalesforceError(404, "NOT_FOUND", message)


def session_invalid() -> SalesforceError:
    return SalesforceError(401, "INVALID_SESSION_ID", "Session expired or invalid")


def limit_exceeded(message: str = "TotalRequests Limit exceeded.") -> SalesforceError:
    return SalesforceError(403, "REQUEST_LIMIT_EXCEEDED", message)


def parser_error(message: str) -> SalesforceError:
    return SalesforceError(400, "JSON_PARSER_ERROR", message)


def unknown_column(name: str, sobject: str) -> SalesforceError:
    return SalesforceError(
        400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject}", [name]
    )


def unknown_column_in_query(name: str, sobject: str, where: str = "") -> SalesforceError:
    """`where` is the excerpt with the caret and the position, ending in a line feed."""
    return SalesforceError(
        400, "INVALID_FIELD", f"{where}No such column '{name}' on entity '{sobject}'.{_APPEND_C}"
    )


def unknown_relationship(name: str, where: str = "") -> SalesforceError:
    text = (
        f"{where}Didn't understand relationship '{name}' in field path. If you are attempting to use a custom"
        " relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL or"
        " the describe call for the appropriate names."
    )
    return SalesforceError(400, "INVALID_FIELD", text)


def unknown_type_in_query(name: str, where: str = "") -> SalesforceError:
    text = (
        f"{where}sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to"
        " append the '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate"
        " names."
    )
    return SalesforceError(400, "INVALID_TYPE", text)


def malformed_query(message: str) -> SalesforceError:
    return SalesforceError(400, "MALFORMED_QUERY", message)


def missing_fields(names: list[str]) -> SalesforceError:
    text = f"Required fields are missing: [{', '.join(names)}]"
    return SalesforceError(400, "REQUIRED_FIELD_MISSING", text, names)


def not_writable(names: list[str]) -> SalesforceError:
    text = (
        f"Unable to create/update fields: {', '.join(names)}. Please check the security settings of this field and"
        " verify that it is read/write for your profile or permission set."
    )
    return SalesforceError(400, "INVALID_FIELD_FOR_INSERT_UPDATE", text, names)


def duplicate_value(field: str, other_id: str) -> SalesforceError:
    text = f"duplicate value found: {field} duplicates value on record with id: {other_id}"
    return SalesforceError(400, "DUPLICATE_VALUE", text, [])


def duplicates_detected(sobject: str, found: list[str]) -> SalesforceError:
    """The text is a rule's alert, the shape that of the guide's duplicateResult."""
    records = [{"attributes": {"type": sobject}, "Id": each} for each in found]
    matched = [
        {"additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0, "record": each}
        for each in records
    ]
    rule = f"{sobject.removesuffix('__c')}_Duplicate_Rule"
    result = {
        "allowSave": False,
        "duplicateRule": rule,
        "duplicateRuleEntityType": sobject,
        "errorMessage": "Use one of these records?",
        "matchResults": [
            {
                "entityType": sobject,
                "errors": [],
                "matchEngine": "ExactMatchEngine",
                "matchRecords": matched,
                "rule": rule,
                "size": len(found),
                "success": True,
            }
        ],
    }
    return SalesforceError(
        400, "DUPLICATES_DETECTED", "Use one of these records?", [], {"duplicateResult": result}
    )


def row_locked(record_id: str, status: int = 400) -> SalesforceError:
    text = f"unable to obtain exclusive access to this record or 1 records: {record_id}"
    return SalesforceError(status, "UNABLE_TO_LOCK_ROW", text, [])


def dangling(status: int = 400) -> SalesforceError:
    return SalesforceError(status, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [])


def deleted(status: int = 404) -> SalesforceError:
    return SalesforceError(status, "ENTITY_IS_DELETED", "entity is deleted", [])


def malformed_id(label: str, given: str, field: str) -> SalesforceError:
    return SalesforceError(400, "MALFORMED_ID", f"{label}: id value of incorrect type: {given}", [field])


def integrity(message: str, fields: list[str]) -> SalesforceError:
    return SalesforceError(400, "FIELD_INTEGRITY_EXCEPTION", message, fields)


def external_id_missing(given: str) -> SalesforceError:
    return not_found(f"Provided external ID field does not exist or is not accessible: {given}")


def rolled_back(record_id: str | None) -> dict[str, Any]:
    """A record of a Collections call that was valid but undone: it keeps the id it would have had."""
    text = "Record rolled back because not all records were valid and the request was using AllOrNone header"
    return SalesforceError(400, "ALL_OR_NONE_OPERATION_ROLLED_BACK", text).result(record_id)
