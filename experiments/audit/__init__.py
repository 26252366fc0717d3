"""The audit: which attacks work without a defense, what each uploads, and what a defense does against all of them."""

from experiments.audit.attacks import VARIANTS, Variant
from experiments.audit.errors import AuditFailedError

__all__ = ["VARIANTS", "AuditFailedError", "Variant"]
