"""Recalibration of soft values on validation scans."""
