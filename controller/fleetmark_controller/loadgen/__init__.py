"""Parsers of LoadGen's logs and checks of their consistency."""
