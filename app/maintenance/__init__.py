"""Keeping what is kept: backup, restore, and the doctor who asks whether everything still agrees.

The questions are about all features at once, so this is the one repository that reads the tables of the others; it
writes to none of them.
"""
