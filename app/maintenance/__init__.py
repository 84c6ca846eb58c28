"""Backup, restore, and the doctor, which checks the integrity of database and files.

Its invariants span all features, so this is the only repository that reads their tables. It writes to none of them.
"""
