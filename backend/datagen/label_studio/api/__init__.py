"""Label Studio's API: the port that the product uses, its HTTP client, its in-memory fake, and the values of both."""
