"""`/composite`, `/composite/batch` and `/composite/graph`: several requests in one call.

Composite runs in order and lets a later request use `@{ref.path}` of an earlier answer; with allOrNone, and always
within one graph, a failure undoes everything. Batch runs independent requests.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from tieout_lab.twins.kit import Request
from tieout_lab.twins.salesforce import errors
from tieout_lab.twins.salesforce.values import Answer, decode_object
from tieout_lab.twins.salesforce.web import flag

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce.sobject_collections import Collections
    from tieout_lab.twins.salesforce.web import RestTwin

MOST, MOST_WIDE, MOST_GRAPHS, MOST_NODES, GRAPHS_FAILED = 25, 5, 75, 500, 14
_REFERENCE = re.compile(r"@\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z0-9]\w*", re.ASCII)
_GRAPH_URL = re.compile(r"/services/data/v[\d.]+/sobjects/[^/]+(/[^/]+){0,2}/?(\?.*)?")
_WIDE = re.compile(r"/services/data/v[\d.]+/(query|queryAll|composite/sobjects)\b")
_HALTED = "The transaction was rolled back since another operation in the same transaction failed."
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class _Undo(Exception):
    """Ends a transaction in which a request failed."""


class Composite:
    """The composite resources."""

    def __init__(self, twin: RestTwin, collections: Collections) -> None:
        self.twin = twin
        self.collections = collections
        twin.data("POST", "/composite", "composite", self.composite)
        twin.data("POST", "/composite/batch", "composite_batch", self.batch)
        twin.data("POST", "/composite/graph", "composite_graph", self.graph)

    # -- composite ----------------------------------------------------------------------------------------------
    def composite(self, request: Request) -> Answer:
        body = decode_object(request)
        parts = _parts(body.get("compositeRequest"), "compositeRequest")
        most = f"The request can’t contain more than {MOST} operations"
        if len(parts) > MOST:
            return _too_many(f"{most}.")
        if sum(1 for each in parts if _WIDE.match(each["url"])) > MOST_WIDE:
            return _too_many(f"{most}, and {MOST_WIDE} of them queries or sObject Collections operations.")
        return Answer(
            200, {"compositeResponse": self._sequence(parts, all_or_none=flag(body.get("allOrNone")))[0]}
        )

    def _sequence(
        self, parts: list[dict[str, Any]], *, all_or_none: bool
    ) -> tuple[list[dict[str, Any]], bool]:
        """Each answer in order, and whether all went well. With all_or_none a failure undoes and halts the rest."""
        answers: dict[str, Any] = {}
        results: list[dict[str, Any]] = []
        ok = True
        outer, self.collections.halt_all = self.collections.halt_all, all_or_none or self.collections.halt_all
        try:
            with self.twin.org.store.transaction():
                for part in parts:
                    answer = self._one(part, answers)
                    failed = answer.status >= 300 or _holds_failure(answer)
                    answers[part["referenceId"]] = answer.body
                    results.append(_result(part, answer))
                    ok = ok and not failed
                    if failed and all_or_none:
                        raise _Undo
        except _Undo:
            failing = len(results) - 1
            results = [results[failing] if at == failing else _halted(part) for at, part in enumerate(parts)]
        finally:
            self.collections.halt_all = outer
        return results, ok

    def _one(self, part: dict[str, Any], answers: dict[str, Any]) -> Answer:
        try:
            url = _filled(part["url"], answers)
            body = _filled(part["body"], answers) if part.get("body") is not None else None
        except LookupError as error:
            return Answer(400, [{"errorCode": "PROCESSING_HALTED", "message": error.args[0]}])
        return self._call(part["method"], url, body, part.get("httpHeaders"))

    def _call(self, method: str, url: str, body: Any, headers: Any) -> Answer:
        split = urlsplit(url)
        given = headers.items() if isinstance(headers, dict) else ()
        own = {"content-type": "application/json"} | {str(key).lower(): str(value) for key, value in given}
        query = parse_qsl(split.query, keep_blank_values=True)
        encoded = _ENCODER.encode(body) if body is not None else b""
        if re.search(r"/composite(/(batch|graph|tree))?/?$", split.path):
            return Answer(400, errors.not_found("A composite request cannot hold another one").body())
        return self.twin.dispatch(Request(method.upper(), unquote(split.path), query, own, encoded))

    # -- batch --------------------------------------------------------------------------------------------------
    def batch(self, request: Request) -> Answer:
        body = decode_object(request)
        parts = body.get("batchRequests")
        if not isinstance(parts, list) or not all(isinstance(each, dict) for each in parts):
            raise errors.parser_error("batchRequests must be a list of objects")
        if len(parts) > MOST:
            raise _refused(f"Limit exceeded: a batch can have at most {MOST} subrequests")
        halt = flag(body.get("haltOnError"))
        results: list[dict[str, Any]] = []
        for part in parts:
            if halt and any(each["statusCode"] >= 400 for each in results):
                text = "Batch processing halted per request"
                results.append(
                    {"statusCode": 412, "result": [{"errorCode": "BATCH_PROCESSING_HALTED", "message": text}]}
                )
                continue
            url = str(part.get("url", ""))
            url = url if url.startswith("/") else f"/services/data/{url}"
            answer = self._call(str(part.get("method", "GET")), url, part.get("richInput"), None)
            results.append({"statusCode": answer.status, "result": answer.body})
        return Answer(
            200, {"hasErrors": any(each["statusCode"] >= 400 for each in results), "results": results}
        )

    # -- graph --------------------------------------------------------------------------------------------------
    def graph(self, request: Request) -> Answer:
        graphs = decode_object(request).get("graphs")
        if not isinstance(graphs, list) or not all(
            isinstance(each, dict) and each.get("graphId") for each in graphs
        ):
            raise errors.parser_error("graphs must be a list of objects with a graphId")
        read = [(each, _parts(each.get("compositeRequest"), "compositeRequest")) for each in graphs]
        if len(read) > MOST_GRAPHS or sum(len(parts) for _, parts in read) > MOST_NODES:
            raise _refused(f"Limit exceeded: at most {MOST_GRAPHS} graphs and {MOST_NODES} nodes in one call")
        if len({each["graphId"] for each in graphs}) < len(graphs):
            raise _refused("graphId must be unique")
        odd = next(
            (part for _, parts in read for part in parts if not _GRAPH_URL.fullmatch(part["url"])), None
        )
        if odd is not None:
            raise _refused(f"The URL {odd['url']} is not supported in a composite graph")
        results, failed = [], 0
        for each, parts in read:
            halted = failed >= GRAPHS_FAILED
            answers, ok = (
                ([_halted(part) for part in parts], False)
                if halted
                else self._sequence(parts, all_or_none=True)
            )
            failed += not ok
            response = {"compositeResponse": answers}
            results.append({"graphId": each["graphId"], "graphResponse": response, "isSuccessful": ok})
        return Answer(200, {"graphs": results})


def only_reads(request: Request) -> bool:
    """Whether every subrequest of a composite or batch is a GET: such a call changes nothing."""
    try:
        body = decode_object(request)
    except errors.SalesforceError:
        return False
    parts = body.get("compositeRequest") or body.get("batchRequests")
    if not isinstance(parts, list) or not parts:
        return False
    return all(isinstance(each, dict) and str(each.get("method", "GET")).upper() == "GET" for each in parts)


def _parts(given: Any, name: str) -> list[dict[str, Any]]:
    """The subrequests, their shape checked before any of them runs."""
    if not isinstance(given, list) or not given:
        raise errors.parser_error(f"{name} must be a list of objects")
    seen: set[str] = set()
    for part in given:
        if not isinstance(part, dict):
            raise errors.parser_error(f"{name} must be a list of objects")
        for key in ("method", "url", "referenceId"):
            if not isinstance(part.get(key), str) or not part[key]:
                raise errors.parser_error(f"Missing required field: {key}")
        reference = part["referenceId"]
        if not _NAME.fullmatch(reference):
            raise _refused(
                f"Provided referenceId ('{reference}') must start with a letter or a number, and it can contain only"
                " letters, numbers and underscores ('_')."
            )
        if reference in seen:
            raise _refused(f"ReferenceId must be unique: {reference}")
        seen.add(reference)
    return given


def _refused(message: str) -> errors.SalesforceError:
    return errors.SalesforceError(400, "INVALID_INPUT", message)


def _too_many(message: str) -> Answer:
    """What Composite answers to more than it takes: a 200 whose only entry is the refusal, without a reference."""
    refusal = Answer(400, [{"errorCode": "LIMIT_EXCEEDED", "message": message}])
    return Answer(200, {"compositeResponse": [_result({"referenceId": None}, refusal)]})


def _result(part: dict[str, Any], answer: Answer) -> dict[str, Any]:
    headers = {"Location": answer.headers["location"]} if "location" in answer.headers else {}
    reference = part["referenceId"]
    return {
        "body": answer.body,
        "httpHeaders": headers,
        "httpStatusCode": answer.status,
        "referenceId": reference,
    }


def _halted(part: dict[str, Any]) -> dict[str, Any]:
    return _result(part, Answer(400, [{"errorCode": "PROCESSING_HALTED", "message": _HALTED}]))


def _holds_failure(answer: Answer) -> bool:
    """Whether a Collections answer (a 200 in any case) holds a record that failed."""
    return isinstance(answer.body, list) and any(
        isinstance(each, dict) and each.get("success") is False for each in answer.body
    )


def _filled(given: Any, answers: dict[str, Any]) -> Any:
    """The value with every `@{ref.path}` replaced; LookupError with the vendor's text where there is nothing."""
    if isinstance(given, dict):
        return {key: _filled(value, answers) for key, value in given.items()}
    if isinstance(given, list):
        return [_filled(value, answers) for value in given]
    if not isinstance(given, str):
        return given
    whole = _REFERENCE.fullmatch(given)
    if whole:
        return _looked_up(whole[1], answers)
    return _REFERENCE.sub(lambda match: str(_looked_up(match[1], answers)), given)


def _looked_up(path: str, answers: dict[str, Any]) -> Any:
    steps = re.findall(r"[^.\[\]]+", path)
    at: Any = answers
    for number, step in enumerate(steps):
        if isinstance(at, list) and step.isdigit() and int(step) < len(at):
            at = at[int(step)]
        elif isinstance(at, dict) and step in at and (number == 0 or at[step] is not None):
            at = at[step]
        else:
            reference = steps[0] if steps else path
            raise LookupError(f"Invalid reference specified. No value for {path} found in {reference}")
    return at
