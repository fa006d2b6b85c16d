"""The API: the studies, inputs, versions, samples and decisions of the studio's pages, as JSON for programs."""
