"""From a path or a Hub id to rows of token ids: find, read, recognise, convert, split, render, tokenise, cache.

Nothing here imports torch. A fault in the data becomes a finding with its file and row, never a traceback.
"""
