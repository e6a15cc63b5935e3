"""The sections of the page, one a file: each turns runs into words, tables and figures."""
