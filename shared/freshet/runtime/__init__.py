"""What every service runs on: settings, logs, health pages, the loop and its clock."""
