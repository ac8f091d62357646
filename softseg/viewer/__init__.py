"""A page in which scans, predictions and truth are browsed in three planes (`softseg view`)."""
