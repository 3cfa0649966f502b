"""Output for people and programs: lines, JSON, timelines, and the stepper."""
