"""Echo server for the bare clients: `baseline_server.py PORT TLS_PORT CERT KEY`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc.aio

from fleetmark_protos.channel import server_options


class _Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._talk)

    async def _talk(self, _requests: Any, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(message)


async def main(port: str, tls_port: str, pair: tuple[bytes, bytes]) -> None:
    """Serve until killed."""
    server = grpc.aio.server(options=server_options())
    server.add_generic_rpc_handlers((_Echo(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.add_secure_port(f"127.0.0.1:{tls_port}", grpc.ssl_server_credentials([pair]))
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    certificate, key = (Path(path).read_bytes() for path in sys.argv[3:5])
    asyncio.run(main(sys.argv[1], sys.argv[2], (key, certificate)))
