"""From a path or a Hub id to rows of token ids: find, read, recognise, convert, split, render, tokenise, cache.

Nothing here imports torch. A fault in the data becomes a finding with its file and row, never a traceback: code that reads records an
observation (`observations`), and the rules in `rules/` make findings of them. The way of a row:

- `files/locate` finds the files of a path, `files/read` makes rows of columns of them, `files/stream` of large ones, and `files/hub` of a set on the
  Hub; `load/tables` takes as many as are wanted.
- `load/recognise` finds out which column is what: `formats/columns` says what a column holds, and `formats/detect` what it is, by its content and by
  the names in `formats/column_names`. Where nothing fits, `formats/unrecognised` says why, and `formats/proposals` what could be named.
- `formats/convert` makes an `Example` of a row, with the texts of `formats/cells`, the turns of `formats/messages` and the prompt of `formats/prompt`;
  `formats/account` reports what was not read.
- `load/open` makes a `Dataset` of all this and holds rows out; `quality/` compares rows with each other.
- `tokenize/render` writes a row as text, conversations with `chat/template`; `tokenize/truncate` makes ids of it, and `tokenize/prepare` the `Prepared`
  rows of a run, which `cache` keeps.

Beside it: `mixture/` reads several data sets as one, `prepared/` writes rows and reads them again, `load/row_stream` and `tokenize/buffers` do the same
while a run trains on rows that are streamed.
"""
