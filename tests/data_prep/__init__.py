"""Tests of data_prep: through its command, with real files on a real disk."""
