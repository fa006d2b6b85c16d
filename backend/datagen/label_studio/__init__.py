"""The one door to Label Studio: its API, its projects, its payloads, and the way between regions and pixels."""
