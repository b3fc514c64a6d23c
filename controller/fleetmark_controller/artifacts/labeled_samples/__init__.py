"""Prepare an operator's own samples and labels for the accuracy of an imported model."""
