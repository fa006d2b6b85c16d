"""Reading the inputs' pictures from Label Studio."""

from __future__ import annotations

from datagen.domain.inputs import Role
from datagen.workflow.inputs.input_pictures import FETCHERS
from datagen.workflow.inputs.input_sync import refresh
from fake_studio import FakeStudio
from studio import good_inputs


def test_one_reading_fetches_all_pictures_though_several_arrive_at_once(studio: FakeStudio) -> None:
    """A reading that ended when every begun download had arrived left the others for the next one."""
    study = studio.open_study(inputs=False)
    count = 2 * FETCHERS + 1
    study.give(Role.BACKGROUND, good_inputs(count)[Role.BACKGROUND])
    inputs = refresh(studio.services, study.id, force=True)
    assert (len(inputs.backgrounds), inputs.unread) == (count, 0)
