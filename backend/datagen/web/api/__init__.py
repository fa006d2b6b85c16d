"""What the studio's pages show and do, as JSON for programs."""
