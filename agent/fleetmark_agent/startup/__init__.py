"""Startup of an agent: settings, enrollment, handover to the long-lived process."""
