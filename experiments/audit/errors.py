"""What an audit raises if an attack does not do what it must."""


class AuditFailedError(RuntimeError):
    """An attack misses what it must reach, or breaks a promise; the message has a line for each."""
