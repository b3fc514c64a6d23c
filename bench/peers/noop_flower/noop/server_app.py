"""Sends one message to the first node, and notes when the answer is here."""

from __future__ import annotations

import time
from pathlib import Path

from flwr.app import Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """`mark` of the run's configuration is the file that gets the moment, by time.monotonic."""
    while not (nodes := list(grid.get_node_ids())):
        time.sleep(0.05)
    wanted = Message(content=RecordDict(), dst_node_id=nodes[0], message_type=MessageType.QUERY)
    (answer,) = grid.send_and_receive([wanted])
    if answer.has_error():
        raise RuntimeError(answer.error.reason)
    mark = Path(str(context.run_config["mark"]))
    draft = mark.with_suffix(".draft")
    draft.write_text(str(time.monotonic()))
    draft.rename(mark)
