"""The Label Studio projects of a study: templates, label configs, provisioning, and task publishing."""
