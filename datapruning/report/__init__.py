"""The report: one self-contained HTML page about student runs, and its figures as PNG and SVG beside it.

    from datapruning.report import write_report
    write_report(["dprune-runs"], "report.html")

runs are found (`find`), made comparable (`setups`, `groups`) and priced (`costs`); each section of the page is a file in
`sections/`, `drawing` makes the figures, `page` and `html` the page, and `write` puts it on disk.
"""

from datapruning.report.write import Written, write_report

__all__ = ["Written", "write_report"]
