"""The tables, one module for each subject. Rows are the source of truth; a queued job only triggers work on a row.

Relationships name classes of other modules, so all modules are imported with the first one.
"""

from datagen.store.tables import batches, inputs, installation, messages, reviews, studies  # noqa: F401
