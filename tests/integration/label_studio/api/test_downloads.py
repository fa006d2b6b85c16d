"""Downloads: only from Label Studio's own origin, with the token sent there alone, and limited in size."""

from __future__ import annotations

import pytest

from datagen.errors import LabelStudioMissing
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.models import Project


@pytest.mark.integration
def test_an_upload_comes_back_as_it_was(client: LabelStudio, project: Project) -> None:
    data = bytes(range(256)) * 100
    (path,) = client.upload(project.id, [("a b.png", data)])
    assert client.fetch(path, max_bytes=len(data)) == data
    assert client.fetch(client.url + path, max_bytes=len(data)) == data


@pytest.mark.integration
def test_an_image_that_is_gone_is_missing_though_label_studio_says_500(client: LabelStudio, project: Project) -> None:
    with pytest.raises(LabelStudioMissing, match="upload the image again"):
        client.fetch(f"/data/upload/{project.id}/00000000-gone.png", max_bytes=100)
