"""Export: rows of the public views as files.

`write.write` is the only entry point; `columns` documents every view. All formats have the same
rows and columns, and a file is written completely or not at all.
"""
