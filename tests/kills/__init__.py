"""The program is killed at every moment at which that could hurt, and must have lost nothing afterwards."""
