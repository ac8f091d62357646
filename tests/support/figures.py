"""Names of candidates as they come, and as they might."""

from __future__ import annotations

PAPER = ["Hard-Sig-Dice", "Hard-ReLU-Wing", "Soft-Sig-Wing", "Soft-ReLU-Dice", "Soft-ReLU-Wing"]
ODD = ["A-candidate-with-a-name-of-30-c", "_one_without_any_hyphen_at_all", "$a$"]
TEN = [*PAPER, *ODD, "nine", "ten"]
