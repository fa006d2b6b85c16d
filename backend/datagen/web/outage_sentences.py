"""Sentences of the pages and the API for parts that do not answer. They name the part, and no address."""

LABEL_STUDIO_UNAVAILABLE = "Label Studio does not answer, so nothing was changed. Try again in a moment."
STORE_UNAVAILABLE = "The image store does not answer. Try again in a moment."
#: … when something was to be changed.
STORE_UNAVAILABLE_UNCHANGED = "The image store does not answer, so nothing was changed. Try again in a moment."
