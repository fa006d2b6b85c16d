"""The decision task: its page and its contact sheet."""
