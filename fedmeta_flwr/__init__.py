"""The core of a backdoor attack on federated meta-learning and of its local defense, as a Flower App.

Three modules are outside the packages, because all packages use them and they use none: `seeding`, the source of every
random draw; `plain_text`, the text in files and settings; and `plain_file`, the check before a file is opened.
"""
