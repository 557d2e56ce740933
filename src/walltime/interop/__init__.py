"""What other programs read, and what is read of theirs."""
