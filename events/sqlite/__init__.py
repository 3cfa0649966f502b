"""A log in one SQLite file: one broker writes it, any number of readers look into it."""
