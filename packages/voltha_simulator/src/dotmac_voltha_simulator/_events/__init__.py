"""What goes to the bus, and the alarms."""
