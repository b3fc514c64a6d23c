"""Metrics of labeled samples, computed from LoadGen's accuracy log and the stored labels."""
