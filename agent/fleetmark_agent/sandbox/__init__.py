"""Sandbox of jobs: `prove` tests what the device supports, `plan` and `confine` use it."""
