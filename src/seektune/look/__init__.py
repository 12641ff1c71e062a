"""What stands in data files, told in seconds: shapes, lengths, languages, labels, duplicates, suspicious records."""
