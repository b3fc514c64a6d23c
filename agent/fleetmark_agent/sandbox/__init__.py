"""The sandbox of jobs: what a board can do is proven (`prove`), then used (`plan`, `confine`)."""
