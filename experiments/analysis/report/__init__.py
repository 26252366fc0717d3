"""The report: one HTML page about a results root or a single run; it opens from disk and needs no network."""

from experiments.analysis.report.page import ReportError, write_report

__all__ = ["ReportError", "write_report"]
