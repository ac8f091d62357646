"""The report of an ablation or of a single run: tables, figures and one page."""
