"""What a program does: operations, bytes, passes through analog layers; no joules."""
