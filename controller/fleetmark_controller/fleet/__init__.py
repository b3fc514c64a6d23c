"""Who is there: presence of devices, in memory and pure."""
