"""The other side of the comparison: a gRPC server that gives back what it is given. Run by `_jail`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import msgspec


class _Echo(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # no generic when it runs
    def service(self, details: Any) -> Any:  # noqa: ARG002 - there is one method
        async def echo(request: Any, context: Any) -> Any:  # noqa: ARG001 - gRPC's
            return request

        return grpc.unary_unary_rpc_method_handler(
            echo, request_deserializer=msgspec.msgpack.decode, response_serializer=msgspec.msgpack.encode
        )


async def main(address: str) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Echo(),))
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
