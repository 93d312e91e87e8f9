"""Which core each busy thread runs on while it is measured.

`topology` reads which cores there are, `draw` chooses among them (pure), `placer` moves the
threads and puts them back.
"""
