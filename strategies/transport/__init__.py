"""Messages between server and nodes: who is asked, who answers, and in which order answers arrive."""
