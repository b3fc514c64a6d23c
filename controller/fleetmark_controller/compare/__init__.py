"""Compares results: faster, slower, or cannot tell. Pure, but for `render`, which makes texts."""
