from __future__ import annotations

from hypothesis import settings

# How fast a machine is must not decide a test.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
