"""Keys that boards trust, releases and signed orders."""
