"""A trained model applied to new scans."""
