"""The one error that a stage raises on purpose."""


class NoctactError(Exception):
    """Something to mend: one line that names the file or key, what is wrong and what to do."""
