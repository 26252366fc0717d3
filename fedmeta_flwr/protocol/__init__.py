"""What a server and its clients send each other."""
