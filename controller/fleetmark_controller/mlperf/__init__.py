"""Submissions to MLPerf Inference: what may be submitted, in which files, and whether it is right.

Everything here follows the written rules (mlcommons/inference_policies and the documents beside
LoadGen). Pure, but for `validate`, which reads a folder.
"""
