"""What a process counts and times of its own work, and how that is told to others."""
