"""`autotrain app`: compose, start, follow, compare and try runs in a browser, on this machine. docs/app.md describes it.

Pages are made here from the same declarations, checks and files as the command line's; commands are carried out by processes of their own.
"""
