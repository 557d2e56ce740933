"""What one thing costs: pure functions of floats and arrays, no whole models or plans."""
