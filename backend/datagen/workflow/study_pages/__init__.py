"""The view models of the studio's pages: plain values that are read from the rows, with few statements a page."""
