"""What the simulated stack knows, and its clock."""
