"""The exception hierarchy. An error's text is a sentence that names the item and the fix; it is shown unchanged.

::

    DatagenError                     base class; its text is shown to the user unchanged
    ├── InputProblem                 one input of the user cannot be used; the other inputs can
    │   ├── BadRegion                a box or polygon without a usable area
    │   └── BadPicture               a file that is not an accepted picture
    ├── NotReady                     the study lacks something that the request needs
    ├── Refused                      the request is not allowed, or its object does not exist
    │   ├── NotConfirmed             the state allows the request, which has to be confirmed first
    │   └── StudyExists              a new study needs another name
    ├── EngineError                  an engine cannot fit or render this spec
    │   └── CannotRender             this machine or the parameters prevent rendering
    ├── DeviceFault                  a GPU failed: its process has to restart, the work can be repeated
    ├── SettingsProblem              a setting is missing or wrong
    │   └── SecretProblem            a secret is missing, or differs from the installation's
    ├── SchemaProblem                the database's schema is not the one that this version requires
    ├── LabelStudioError             a request to Label Studio failed (this class itself: it was refused)
    │   ├── AddressRefused           Label Studio's SSRF protection or DNS resolver refuses an address of Datagen
    │   ├── LabelStudioUnavailable   Label Studio did not answer, or asked for a later retry: a retry may succeed
    │   ├── LabelStudioFault         Label Studio is up and fails at this one request: other requests may succeed
    │   └── LabelStudioMissing       the requested object does not exist (any more)
    ├── DeliveryFailed               a notification was not accepted; a later attempt may succeed
    │   ├── DeliveryRefused          it will never be accepted
    │   └── ReceiverSilent           nothing answered at the receiver's address
    └── StoreError                   an object of the image store, a backup or an export cannot be used
        ├── StoreMissing             the object is not in the store
        └── StoreUnavailable         the store did not answer, refused or is full: a retry may succeed
"""

from __future__ import annotations

from collections.abc import Sequence


class DatagenError(Exception):
    """Base class of all errors of Datagen; ``str(error)`` is a sentence for the user."""


class InputProblem(DatagenError):
    """One input of the user cannot be used; the other inputs still can."""


class BadRegion(InputProblem):
    """A box or polygon without a usable area inside its image."""


class BadPicture(InputProblem):
    """A file that is not a picture within the limits."""


class NotReady(DatagenError):
    """The study lacks something that the request needs."""


class Refused(DatagenError):
    """The request is not allowed, by the study's state or by its credentials, or its object does not exist."""


class NotConfirmed(Refused):
    """The request has consequences that the user has to confirm first; the sentence names them.

    ``reasons`` are the consequences alone, each as sentences, for whoever offers another way to confirm than ``how``.
    """

    def __init__(self, reasons: Sequence[str], how: str) -> None:
        super().__init__(f"{' '.join(reasons)} {how}")
        self.reasons = tuple(reasons)


class StudyExists(Refused):
    """There is a study of the name that a new one was to get."""


class EngineError(DatagenError):
    """An engine cannot fit or render this spec."""


class CannotRender(EngineError):
    """This machine or the parameters prevent rendering. Code that catches this error adds where to set parameters."""


class DeviceFault(DatagenError):
    """A GPU failed and is unusable for this process; another process can repeat the work."""


class SettingsProblem(DatagenError):
    """A setting is missing or wrong; the sentence names it."""


class SecretProblem(SettingsProblem):
    """A secret is missing, or differs from the one that the installation's other processes have."""


class SchemaProblem(DatagenError):
    """The database's schema is not the one that this version of the code requires."""


class LabelStudioError(DatagenError):
    """A request to Label Studio failed.

    This class itself is raised for a refused request, and for an invalid URL, token or response.
    """


class AddressRefused(LabelStudioError):
    """Label Studio refuses to connect to an address of Datagen."""


class LabelStudioUnavailable(LabelStudioError):
    """Label Studio did not answer, or asked for a later retry. A retry may succeed."""


class LabelStudioFault(LabelStudioError):
    """Label Studio answers its health check but fails at this request. The requested task or project is at fault."""


class LabelStudioMissing(LabelStudioError):
    """The requested object is not in Label Studio (any more)."""


class DeliveryFailed(DatagenError):
    """A notification was not accepted by its receiver. A later attempt may succeed."""


class DeliveryRefused(DeliveryFailed):
    """The receiver will never accept the notification."""


class ReceiverSilent(DeliveryFailed):
    """Nothing answered at the receiver's address, or not in time."""


class StoreError(DatagenError):
    """An object of the image store, a backup or an export cannot be used."""


class StoreMissing(StoreError):
    """The object is not in the image store."""


class StoreUnavailable(StoreError):
    """The image store did not answer, refused the request or is full; the object is not at fault.

    ``reason`` is the cause in a few words. Neither ``reason`` nor the sentence names a bucket, an endpoint or a path,
    because both are shown on pages.
    """

    def __init__(self, sentence: str, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason
