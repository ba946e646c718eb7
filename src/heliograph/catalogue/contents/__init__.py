"""What can be played on demand, and which servers hold it (M3, M4)."""
