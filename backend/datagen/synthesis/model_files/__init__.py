"""Files of model weights, for all engines: headers, the hub's answers, and the machine's memory. Imports no torch."""
