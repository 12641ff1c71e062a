"""What else happens while training; an observer never changes a number."""
