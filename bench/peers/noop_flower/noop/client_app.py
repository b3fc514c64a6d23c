"""Answers at once."""

from __future__ import annotations

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """The shortest work that there is."""
    del context
    return Message(content=RecordDict(), reply_to=message)
