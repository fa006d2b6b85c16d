"""The Label Studio projects of a study: templates, label configurations, provisioning, and task publishing."""
