"""The core of a federated meta-learning attack and its local defense, as a Flower App.

Two modules belong to no package, since all of them use these and they use none: `seeding`, from which every random draw
comes, and `plain_text`, the texts that files and settings hold.
"""
