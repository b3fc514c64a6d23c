"""Comparison of results: faster, slower, or undecided. Pure, except for `render`."""
