"""What runs inside a job: LoadGen glue and one thin adapter per runtime."""

__version__ = "1.0.0"
