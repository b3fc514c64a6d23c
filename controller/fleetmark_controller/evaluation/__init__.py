"""Ingest: reads the raw files of a finished attempt and judges them.

Nothing here trusts a run: figures and verdicts are recomputed from LoadGen's logs, bounded and
checked against one another. `evaluate.evaluate` is the one entry point; it is a plain function of
picklable values, so that it can run in a process pool.
"""
