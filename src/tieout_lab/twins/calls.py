"""gRPC calls of a twin: handlers over bytes, served by grpc.aio here and called in process by the simulation.

A handler takes the call's metadata and its requests and yields its answers. Unary calls are streams of one message each
way, which on the wire they are.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

Handler = Callable[[Mapping[str, str], AsyncIterator[bytes]], AsyncIterator[bytes]]


class Refused(Exception):
    """The call ends with this gRPC status; `code` goes into the trailer `error-code`."""

    def __init__(self, status: str, code: str, message: str, rpc_id: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.trailers = {"error-code": code, "rpc-id": rpc_id}


def reserve_port() -> socket.socket:
    """A loopback port kept for a server started later: bound, never listening. Close it when the server ends."""
    kept = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    kept.bind(("127.0.0.1", 0))
    return kept


async def serve_calls(calls: Mapping[str, Handler], port: int) -> Any:
    """A started grpc.aio server, without TLS, on a loopback port; `await server.stop(None)` ends it."""
    import grpc
    import grpc.aio

    class Handlers:
        def service(self, details: Any) -> Any:
            handler = calls.get(details.method)
            return None if handler is None else grpc.stream_stream_rpc_method_handler(_running(handler))

    server = grpc.aio.server(options=(("grpc.so_reuseport", 1),))
    server.add_generic_rpc_handlers((Handlers(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server


def _running(handler: Handler) -> Callable[[Any, Any], AsyncIterator[bytes]]:
    import grpc

    async def run(requests: Any, context: Any) -> AsyncIterator[bytes]:
        metadata = {
            key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
        }
        try:
            async for answer in handler(metadata, requests):
                yield answer
        except Refused as refused:
            trailers = tuple(refused.trailers.items())
            await context.abort(getattr(grpc.StatusCode, refused.status), refused.message, trailers)

    return run
