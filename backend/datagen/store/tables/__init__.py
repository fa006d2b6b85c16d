"""The tables, one module for each subject. Rows are the source of truth; a queued job only triggers work on a row.

A relationship names a class of another module. Importing one module therefore imports all of them.
"""

from datagen.store.tables import (  # noqa: F401
    api_requests,
    batches,
    handovers,
    inputs,
    installation,
    messages,
    notifications,
    reviews,
    studies,
)
