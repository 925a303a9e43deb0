"""What several tests need: servers, loops, clocks, and readers of the wire."""
