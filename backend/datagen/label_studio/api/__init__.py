"""HTTP client of Label Studio: authentication, transport limits, task listings, uploads, and the values it returns."""
