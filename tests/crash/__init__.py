"""The program is killed at every crash point (`app.base.crash_points`) and must have lost nothing afterwards."""
