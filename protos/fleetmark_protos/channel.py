"""Options of gRPC channels and servers, in one place so that both sides agree."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Largest message that either side takes."""

CHUNK_BYTES = 64 * 1024
"""Bytes of a blob per message: cost is per message up to here, beyond it nothing is gained."""

DEFAULT_PORT = 7117
"""Below 32768, so that it never collides with a client's ephemeral port."""

_SHARED = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_timeout_ms", 5_000),
]


def client_options(keepalive_s: float = 10.0) -> list[tuple[str, int]]:
    """Options of a channel that notices a cut link within `keepalive_s` plus five seconds."""
    return [
        *_SHARED,
        ("grpc.keepalive_time_ms", int(keepalive_s * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        # Whoever calls waits by itself, with jitter: while the channel waits, too, a call fails
        # without trying, and a controller that is back for a moment is missed.
        ("grpc.max_reconnect_backoff_ms", 500),
        # Names and proxies of the environment must not decide where a fleet's traffic goes.
        ("grpc.enable_http_proxy", 0),
    ]


def server_options(keepalive_s: float = 10.0) -> list[tuple[str, int]]:
    """Options of a server that a whole fleet may dial at the same moment.

    gRPC's defaults drop up to a fifth of 5,000 simultaneous connections; the two
    `max_pending_requests` limits below drop none.
    """
    return [
        *_SHARED,
        ("grpc.keepalive_time_ms", int(keepalive_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
        ("grpc.server.max_pending_requests", 50_000),
        ("grpc.server.max_pending_requests_hard_limit", 60_000),
        ("grpc.so_reuseport", 0),
    ]
