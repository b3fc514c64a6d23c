"""Runs a model on the controller's machine before it is imported, in the sandbox of a job.

The model, the runtime that reads it, and a job's Python run in a child process, which sees neither
the controller's home nor the network (`fleetmark_core.sandbox`). Its environment consists of the
wheels that a job on this machine would get.
"""
