"""Options of gRPC channels and servers, in one place so that both sides agree."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Largest message that a controller or an agent takes, and that an agent or a person sends."""

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Largest answer that a person's command takes: a list of thousands of boards is one message."""

CHUNK_BYTES = 64 * 1024
"""Bytes of a blob per message: cost is per message up to here, beyond it nothing is gained."""

MAX_ORDER_BYTES = 64 * 1024
"""Largest order that is shown in a hello."""

MAX_SHOWN_BYTES = 2 * 1024 * 1024
"""All orders and locks that a hello shows: with the rest it must fit into one message."""

DEFAULT_PORT = 7117
"""Below 32768, so that it never collides with a client's ephemeral port."""

ENTRY_MESSAGE_BYTES = 64 * 1024
"""Largest message that is taken from a caller who has proved nothing yet."""

SERVER_NAME = "controller.fleetmark.internal"
"""The name in every controller's certificate, which clients check whatever address they dial."""

HANDSHAKE_TIMEOUT_S = 20.0
"""How long a connection may take for TLS and the first HTTP/2 frame. gRPC's default is 120 s."""

_IDLE_S = 300.0
_ENTRY_IDLE_S = 30.0

SERVICE_TYPE = "_fleetmark._tcp.local."
"""Under which controllers make themselves known on the local network (DNS-SD)."""

_SHARED = [
    ("grpc.keepalive_timeout_ms", 5_000),
]


def client_options(
    keepalive_s: float = 10.0, most_bytes: int = MAX_MESSAGE_BYTES
) -> list[tuple[str, int | str]]:
    """Options of a channel that notices a cut link within `keepalive_s` plus five seconds.

    `most_bytes`: the largest answer that it takes.
    """
    return [
        *_SHARED,
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", int(keepalive_s * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        # Whoever calls waits by itself, with jitter: while the channel waits, too, a call fails
        # without trying, and a controller that is back for a moment is missed.
        ("grpc.max_reconnect_backoff_ms", 500),
        # Names and proxies of the environment must not decide where a fleet's traffic goes.
        ("grpc.enable_http_proxy", 0),
        ("grpc.ssl_target_name_override", SERVER_NAME),
    ]


def server_options(
    keepalive_s: float = 10.0,
    *,
    handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
    connections: int | None = None,
) -> list[tuple[str, int]]:
    """Return the options of a server that a whole fleet may dial at the same moment.

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
    """Return the options of the open port: small messages, few streams, short idle times.

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
        handshake_timeout_s: seconds from accepting a connection to its first HTTP/2 settings
            frame. It covers slow handshakes and clients that stop after TLS.
        idle_s: seconds without a call after which a connection is closed. An agent's stream is a
            call, so an idle device is not affected.
        connections: how many the port holds; gRPC accepts and closes more at once. None: no limit.
    """
    options = [
        ("grpc.server_handshake_timeout_ms", int(handshake_timeout_s * 1000)),
        ("grpc.max_connection_idle_ms", int(idle_s * 1000)),
    ]
    if connections is not None:
        options.append(("grpc.max_allowed_incoming_connections", connections))
    return options
