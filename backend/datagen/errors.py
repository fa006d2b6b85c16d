"""The error tree. An error's text is a sentence that names the item and the fix: it is shown as it is.

::

    DatagenError                     shown to a person as it is written
    ├── InputProblem                 something a person gave cannot be used; the rest still can
    │   ├── BadRegion                a box or polygon with no usable area
    │   └── BadPicture               a file that is not a picture we accept
    ├── NotReady                     a study lacks what the request needs
    ├── Refused                      the state of the study does not allow the request
    │   └── NotConfirmed             it does, and the request has to be confirmed first
    ├── EngineError                  an engine cannot fit or render this spec
    ├── DeviceFault                  a GPU failed: what uses it has to start anew, the work can be done again
    ├── SettingsProblem              a setting is missing or wrong
    │   └── SecretProblem            a secret is missing, or another one than the installation's
    ├── SchemaProblem                the database's schema is not the one that this version works with
    ├── LabelStudioError             Label Studio answered with a refusal
    │   ├── AddressRefused           its SSRF protection, or its name server, refuses an address of ours
    │   ├── LabelStudioUnavailable   it did not answer, or asks to come back later: worth a retry
    │   ├── LabelStudioFault         it is up, and fails at this one thing: others can still be asked for
    │   └── LabelStudioMissing       what was asked for is not there (any more)
    └── StoreError                   an object of the image store, a backup or an export cannot be used
        ├── StoreMissing             the object is not in the store
        └── StoreUnavailable         the store did not answer, refused or is full: worth a retry
"""


class DatagenError(Exception):
    """Base of every error of ours; ``str(error)`` is a sentence for the person who sees it."""


class InputProblem(DatagenError):
    """Something a person gave cannot be used; the others still are."""


class BadRegion(InputProblem):
    """A box or polygon with no usable area inside its image."""


class BadPicture(InputProblem):
    """A file that is not a picture within the limits."""


class NotReady(DatagenError):
    """A study lacks what the request needs."""


class Refused(DatagenError):
    """The state of the study does not allow the request."""


class NotConfirmed(Refused):
    """The request has consequences that a person has to confirm first; the sentence names them."""


class EngineError(DatagenError):
    """An engine cannot fit or render this spec."""


class DeviceFault(DatagenError):
    """A GPU failed, and no longer works for this process; another process can do the work again."""


class SettingsProblem(DatagenError):
    """A setting is missing or wrong; the sentence names it."""


class SecretProblem(SettingsProblem):
    """A secret is missing, or is another one than the other processes of the installation have."""


class SchemaProblem(DatagenError):
    """The database's schema is not the one that this version of the code works with."""


class LabelStudioError(DatagenError):
    """Label Studio answered with a refusal."""


class AddressRefused(LabelStudioError):
    """Label Studio refuses to connect to an address of ours."""


class LabelStudioUnavailable(LabelStudioError):
    """Label Studio did not answer, or asks to come back later: worth a retry."""


class LabelStudioFault(LabelStudioError):
    """Label Studio answers its health check, and fails at this one thing: a fault of that task or project."""


class LabelStudioMissing(LabelStudioError):
    """What was asked for is not in Label Studio (any more)."""


class StoreError(DatagenError):
    """An object of the image store, a backup or an export cannot be used."""


class StoreMissing(StoreError):
    """The object is not in the image store."""


class StoreUnavailable(StoreError):
    """The image store did not answer, refused the request or is full: nothing is wrong with the object.

    ``reason`` says why in a few words. Neither it nor the sentence names a bucket, an endpoint or a path: both are
    shown on pages.
    """

    def __init__(self, sentence: str, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason
