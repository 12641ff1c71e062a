"""The verbs, one file each; the file's name is the verb and its docstring's first line the help.

A file has `arguments(parser)`, which declares options, and `run(options) -> int`, which returns the exit code. Nothing heavy
is imported at the top of a file: torch arrives inside functions.
"""
