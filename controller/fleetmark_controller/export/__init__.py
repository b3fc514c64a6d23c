"""Export: rows of the public views as files.

`write.write` is the one entry point; `columns` documents every view. Whatever the format, the
same rows and columns come out, and a file appears whole or not at all.
"""
