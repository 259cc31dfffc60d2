"""The report of a run: one HTML file, and the table of arms as text."""

from dgr.report.build import build_report
from dgr.report.finish import finish_run
from dgr.report.table import arms_table, markdown_table

__all__ = ["arms_table", "build_report", "finish_run", "markdown_table"]
