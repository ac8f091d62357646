"""Cache of preprocessed volumes."""
