"""Tests of softseg view."""
