"""The parser of pipelines: functions ``(file, position) -> (value, position)``, where a position is a ``Token``.

A ``File`` holds what does not depend on the position: the text, the list of all diagnostics, and the drafts of
nodes and edges. After an error a function reads on where it is plain what was meant; else it raises ``Resync`` with
the position from which the next statement is looked for.
"""
