"""What was asked for and played: counted without slowing anybody, kept over a kill (M5)."""
