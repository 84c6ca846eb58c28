"""Work that must not be lost: one table for everything that makes something."""
