"""Options of gRPC channels and servers, in one place so that both sides agree."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Largest message that a controller or an agent receives, and that an agent or a command sends."""

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Largest response that a command receives: a list of thousands of devices is one message."""

CHUNK_BYTES = 64 * 1024
"""Bytes of a blob per message. Up to this size larger chunks are faster; beyond it they are not."""

MAX_ORDER_BYTES = 64 * 1024
"""Largest order that is included in a hello."""

MAX_SHOWN_BYTES = 2 * 1024 * 1024
"""Maximum total size of orders and lockfiles in a hello, which must fit into one message."""

DEFAULT_PORT = 7117
"""Below 32768, so that it never collides with a client's ephemeral port."""

ENTRY_MESSAGE_BYTES = 64 * 1024
"""Largest message that is accepted from a caller that is not authenticated yet."""

SERVER_NAME = "controller.fleetmark.internal"
"""The name in every controller's certificate. Clients check it, whatever address they connect to.
"""

HANDSHAKE_TIMEOUT_S = 20.0
"""Time limit of a connection for TLS and the first HTTP/2 frame. gRPC's default is 120 s."""

_IDLE_S = 300.0
_ENTRY_IDLE_S = 30.0

SERVICE_TYPE = "_fleetmark._tcp.local."
"""Service type by which controllers are announced on the local network (DNS-SD)."""

_SHARED = [
    ("grpc.keepalive_timeout_ms", 5_000),
]


def client_options(
    keepalive_s: float = 10.0, most_bytes: int = MAX_MESSAGE_BYTES
) -> list[tuple[str, int | str]]:
    """Return the options of a channel that detects a broken link.

    Args:
        keepalive_s: a broken link is detected within this many seconds plus five.
        most_bytes: size of the largest response that the channel accepts.
    """
    return [
        *_SHARED,
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", int(keepalive_s * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        # Callers retry with jitter themselves. While the channel itself backs off, calls fail
        # without an attempt, so that a controller that is back only briefly would be missed.
        ("grpc.max_reconnect_backoff_ms", 500),
        # Proxy variables of the environment must not redirect a fleet's traffic.
        ("grpc.enable_http_proxy", 0),
        ("grpc.ssl_target_name_override", SERVER_NAME),
    ]


def server_options(
    keepalive_s: float = 10.0,
    *,
    handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
    connections: int | None = None,
) -> list[tuple[str, int]]:
    """Return the options of a server to which a whole fleet may connect at the same moment.

    gRPC's defaults drop up to a fifth of 5,000 simultaneous connections; the two
    `max_pending_requests` limits below drop none.

    Args:
        keepalive_s: seconds between pings to a silent client.
        handshake_timeout_s: see `_connection_options`.
        connections: see `_connection_options`.
    """
    return [
        *_SHARED,
        *_connection_options(handshake_timeout_s, _IDLE_S, connections),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_ANSWER_BYTES),
        ("grpc.keepalive_time_ms", int(keepalive_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
        ("grpc.server.max_pending_requests", 50_000),
        ("grpc.server.max_pending_requests_hard_limit", 60_000),
        ("grpc.so_reuseport", 0),
    ]


def entry_options(
    *, handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S, connections: int | None = None
) -> list[tuple[str, int]]:
    """Return the options of the port that is open to unauthenticated callers (enrollment).

    Messages are small, streams are few, and idle times are short.

    Args:
        handshake_timeout_s: see `_connection_options`.
        connections: see `_connection_options`.
    """
    return [
        *_connection_options(handshake_timeout_s, _ENTRY_IDLE_S, connections),
        ("grpc.max_receive_message_length", ENTRY_MESSAGE_BYTES),
        ("grpc.max_send_message_length", ENTRY_MESSAGE_BYTES),
        ("grpc.max_metadata_size", 8 * 1024),
        ("grpc.max_concurrent_streams", 8),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
        ("grpc.server.max_pending_requests", 5_000),
        ("grpc.server.max_pending_requests_hard_limit", 6_000),
        ("grpc.so_reuseport", 0),
    ]


def _connection_options(
    handshake_timeout_s: float, idle_s: float, connections: int | None
) -> list[tuple[str, int]]:
    """Return the options that close connections which do no work.

    Args:
        handshake_timeout_s: seconds from accepting a connection to its first HTTP/2 settings frame.
            It covers slow handshakes and clients that stop after TLS.
        idle_s: seconds without a call after which a connection is closed. An agent's stream is a
            call, so an idle device is not affected.
        connections: maximum number of open connections; gRPC accepts and closes further ones. None
            means no limit.
    """
    options = [
        ("grpc.server_handshake_timeout_ms", int(handshake_timeout_s * 1000)),
        ("grpc.max_connection_idle_ms", int(idle_s * 1000)),
    ]
    if connections is not None:
        options.append(("grpc.max_allowed_incoming_connections", connections))
    return options
