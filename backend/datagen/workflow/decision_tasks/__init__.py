"""The decision task: the page that it shows and the sheet beside it."""
