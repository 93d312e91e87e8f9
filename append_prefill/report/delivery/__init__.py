"""A run's outcome in the shapes that other programs show: a line, GitHub, Slack, Teams.

All of them say the headline's sentence; nothing here is sent anywhere.
"""
