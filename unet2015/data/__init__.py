"""Data sets: found or downloaded, verified, returned as arrays; and the files of the user."""
