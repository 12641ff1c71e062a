"""The verbs of `seektune data`, one file each."""
