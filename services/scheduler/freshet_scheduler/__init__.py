"""Due schedules into run requests: wiring, settings, main."""
