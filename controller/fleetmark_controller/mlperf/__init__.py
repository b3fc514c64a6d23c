"""Submissions to MLPerf Inference: selection of results, their files, and checks of a tree.

Everything here follows the written rules (mlcommons/inference_policies and the documents beside
LoadGen). Pure, except for `validate`, which reads a folder.
"""
