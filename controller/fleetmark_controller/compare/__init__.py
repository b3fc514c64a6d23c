"""Compare results: faster, slower, or cannot tell. Pure, except `render`, which formats texts."""
