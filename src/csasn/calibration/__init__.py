"""What is fitted on tuning rows, kept, and applied to readings."""
