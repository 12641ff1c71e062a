"""Data stages, one file each: a stage takes records and gives records, and reports what it kept, dropped, changed and added."""
