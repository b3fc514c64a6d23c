"""What can run: components, their resolution into locks, and selectors of devices.

`core` is light and shared with agents; `load`, `resolve` and `selectors` are the controller's.
"""
