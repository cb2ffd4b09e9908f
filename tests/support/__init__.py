"""What several tests need and no test is: cohorts made by hand, small trainings, plain statistics."""
