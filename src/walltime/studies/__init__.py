"""Studies from the literature, one function a figure or table, the paper's numbers beside ours."""
