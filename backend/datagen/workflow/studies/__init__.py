"""Studies as a whole: opening, status, export and maintenance."""
