"""Convert configurations of ivadomed (JSON) to ours, key by key."""
