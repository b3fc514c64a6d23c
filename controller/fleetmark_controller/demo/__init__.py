"""The demo on one machine: real processes, the default suite, and files with the results."""
