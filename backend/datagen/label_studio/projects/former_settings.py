"""Digests of the texts and tabs that any version of Datagen has given to a project, including this version.

If a setting of a project has one of these digests, no person changed it, so provisioning may update it. When a text or
a tab changes, add its new digest and keep the former ones. A test compares the digests with the templates."""

from __future__ import annotations

#: Digests of instructions and descriptions (see ``project_settings.digest``).
TEXTS = frozenset(
    {
        # Concepts: instruction
        "f64fafb609d7e87b",
        "c81853e17d501909",
        "20fa3b3c1489ea0c",
        "4f7b6758ef83806c",
        # Concepts: description
        "a2737f27c54f2a90",
        "8443ef907c246708",
        # Canvases: instruction
        "5d5fbbaa8535a295",
        "4be27096afd602d4",
        "5c37c2cfa810e683",
        "faca08a72ed4c8ac",
        # Canvases: description
        "1b94c6e01cbb8140",
        "d794ed54324fa0fb",
        # Backgrounds: instruction
        "9a2dae166fc4f50e",
        "ff6d4c0905e9c8f8",
        "608348bf29e5da96",
        # Backgrounds: description
        "7a0ca2f59672cf9a",
        "8138f2edb32a0509",
        "7e0eb94b3aa19d88",
        # Previews: instruction
        "1fb662911bf376ec",
        "111601b3a21e08eb",
        "27cf9259c57a7417",
        "f9b19174b554adf4",
        "7e1c779916aaf4e5",
        "113b328c40cea537",
        "925f3f3791f0461f",
        # Previews: description
        "f133711b61248c72",
        "c83ae9480ab63bab",
        "ebf8841d0dfa7033",
        # Decisions: instruction
        "98c5b8ceb834c4a2",
        "52f7c91172810dfb",
        "5f92e0957223738c",
        "cd17886114f5cb57",
        "ef5127cd814c40c2",
        # Decisions: description
        "d59be7b96e31b2b0",
        # Dataset: instruction
        "d5efe256b3e75b4e",
        "f422e5b96a094a25",
        "f1c275dd2b9abd46",
        # Dataset: description
        "f6c9051680a6a252",
        "0234c3fd54812f87",
    }
)

#: Digests of tabs (see ``project_settings.tab_digest``).
TABS = frozenset(
    {
        # All
        "c5d971087fde45bb",
        "0cddbe555e20e1a0",
        "887f8ef1cf13aebc",
        "7aeaf74077f8cc42",
        "6e4c1d047b3602ae",
        "c8c79a7a0a4afbbb",
        "d662ad684ff217b2",
        "c4c1d9a4e82e763d",
        "9db94931f35ccdd9",
        "7efabe03835edb27",
        # To draw
        "5826ede8ca192642",
        "373cdbde57ba614e",
        "4926997de7d1b3b9",
        "94e6c527d1ac2e39",
        "9a0e3580e2eed80e",
        "711eac8010c7f4de",
        "988c71c06bb0d5e9",
        # Excluded
        "29e5e14aa4dbeefd",
        "191609cfa1656879",
        "206314e05e68ca07",
        "a75d59c8fc1e4817",
        "c06a099aed58054e",
        "95896e3a259ee80d",
        "f3d9f85420e87e4f",
        # Newest first
        "e00ef12b7bb76fd1",
        "5ebdfc5cffb133eb",
        "d64185a681c60df2",
        "4dbca05d3b237e3d",
        "0be4b21306ad887f",
        "634b290115c97a08",
        "023c014dcb65aab9",
        # To review now
        "821c25b5fabffd06",
        "f780e1b880aeebf6",
        "e3c888e6c93ad128",
        "9940ea9e26c24865",
        "5b08184dcc35d980",
        # This round: good
        "b9261fe74ff9045a",
        "f4788747516ebdca",
        "97df6417a05aba2b",
        "df83398bb7c9d808",
        # This round: bad
        "774eea4b7f59a328",
        "69e0c52081478284",
        "b3d6d0aad5386b0e",
        "886be43d35b4d92c",
        # All rounds
        "97bd564dc78d2c6d",
        "d1e58b1e903fedc7",
        "09f66e1781f79be6",
        "2ee0f69d9e2c10b7",
        "2f0745b0eb191430",
        # List
        "37f293d3ee3c0b5b",
        "c8d28f8d34810635",
        "39c1b820b2a1779d",
        "a6468f07692745da",
    }
)
