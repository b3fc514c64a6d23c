"""Baseline for an agent: a grpc.aio client that holds one stream and does nothing else.

`baseline_client.py ADDRESS PERIOD_S (plain|CA_FILE) (bytes|messages)`: sends a message, reads the
reply, and repeats this after each period. `bytes` needs no protobuf; `messages` loads the agent's
stubs.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc.aio

from fleetmark_protos.channel import client_options

NAME = "controller.fleetmark.internal"


async def main(address: str, period_s: float, security: str, kind: str) -> None:
    """Exchange messages until killed."""
    options = client_options()
    if security == "plain":
        channel = grpc.aio.insecure_channel(address, options=options)
    else:
        with open(security, "rb") as file:  # noqa: PTH123, ASYNC230  (pathlib would count)
            credentials = grpc.ssl_channel_credentials(file.read())
        named = [*options, ("grpc.ssl_target_name_override", NAME)]
        channel = grpc.aio.secure_channel(address, credentials, options=named)
    call: Any
    word: Any = b"x" * 40
    if kind == "messages":
        from fleetmark_protos.v1 import session_pb2, session_pb2_grpc

        stub: Any = session_pb2_grpc.SessionStub(channel)
        call = stub.Connect()
        word = session_pb2.AgentMessage(heartbeat=session_pb2.Heartbeat(sequence=1, idle=True))
    else:
        call = channel.stream_stream("/fleetmark.v1.Session/Connect")()
    while True:
        await call.write(word)
        if await call.read() is grpc.aio.EOF:
            sys.exit("the server has ended the stream")
        await asyncio.sleep(period_s)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4]))
