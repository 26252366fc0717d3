"""What an adversary does: the backdoor key, poisoned episodes, and the update that it uploads."""
