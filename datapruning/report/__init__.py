"""The report: one self-contained HTML page about student runs, and its figures as PNG and SVG files.

    from datapruning.report import write_report
    write_report(["dprune-runs"], "report.html")

`find_runs` reads the runs as records, `comparison` and `groups` pivot them into what compares and what differs in the seed
alone, `costs` adds up what they cost. Each section of the page is a file in `sections/` with a template in `templates/`;
`figures` draws, `page` puts the sections together, and `write` writes the files.
"""

from datapruning.report.write import ReportFiles, write_report

__all__ = ["ReportFiles", "write_report"]
