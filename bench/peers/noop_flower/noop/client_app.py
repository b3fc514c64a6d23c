"""Client of the app: replies immediately."""

from __future__ import annotations

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """Reply with an empty record, the least possible work."""
    del context
    return Message(content=RecordDict(), reply_to=message)
