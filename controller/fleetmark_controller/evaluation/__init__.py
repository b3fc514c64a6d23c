"""Evaluation: read the raw files of a finished attempt and derive the facts of its run.

A run's own claims are not trusted: figures, validity and condition are recomputed from LoadGen's
logs, within bounds and with cross-checks. `evaluate.evaluate` is the only entry point. It is a
plain function of picklable values, so that it can run in a process pool.
"""
