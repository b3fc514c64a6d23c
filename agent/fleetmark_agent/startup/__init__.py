"""Brings an agent up: settings, enrolment, hand-over to the long-lived process."""
