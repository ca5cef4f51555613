"""Online analysis of every event of an experiment, live and exactly counted."""
