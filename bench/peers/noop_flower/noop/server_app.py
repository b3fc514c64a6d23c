"""Server of the app: sends one message to the first node and records when the reply arrives."""

from __future__ import annotations

import time
from pathlib import Path

from flwr.app import Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Write the time.monotonic of the reply to the file `mark` of the run's configuration."""
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
