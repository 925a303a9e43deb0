"""What a token costs the client that reads it: cometstream beside its peers and a hand-written loop, over loopback."""
