"""Energy of a run from the log of an external power meter: parse, align, integrate."""
