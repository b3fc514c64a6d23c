"""The component catalog, its resolution into lockfiles, and device selectors.

The controller uses `load`, `resolve` and `selectors`. Agents use only the folder `components/soft`,
which they read without importing these packages.
"""
