"""Views whose rows of one campaign cost what these rows are, not what the store is.

`results` begins with the runs instead of the keys of all runs, so that a condition on the campaign
reaches the index of its jobs. In `events`, the campaign is that of a joined job instead of a query
for each event.
"""

from __future__ import annotations

from sqlite_utils.db import Database

from fleetmark_controller.store.db.migrations.view_columns import old_results_columns, results_view

_EVENTS = """CREATE VIEW events AS SELECT event_id, at, kind,
        (SELECT name FROM device WHERE device.device_id = event.device_id) AS device,
        job.campaign_id, event.job_id, event.epoch, event.detail
        FROM event LEFT JOIN job ON job.job_id = event.job_id"""


def apply(db: Database) -> None:
    """Recreate the views, and add the index that joins performance and accuracy runs."""
    columns = old_results_columns(str(db["results"].schema))
    db.conn.execute("CREATE INDEX job_by_key ON job (campaign_id, configuration_key, repetition)")
    db.conn.execute("DROP VIEW results")
    db.conn.execute(results_view(columns))
    db.conn.execute("DROP VIEW events")
    db.conn.execute(_EVENTS)
