"""Decide which waiting job runs on which free device. Pure, behind one interface."""
