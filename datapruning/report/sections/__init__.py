"""The sections of the page, one a file: each draws figures of the runs and fills its template."""
