"""Checks all that the configuration says about the door, before anything listens."""

from sidecar.config import Config
from sidecar.door.admission import Admission
from sidecar.door.certificates import Certificates
from sidecar.door.exposure import check_exposure


def check_door(config: Config) -> None:
    """Reads the certificates and tokens, and refuses to be open to strangers.

    Raises:
        ConfigError: the message names the key and the remedy.
    """
    check_exposure(config.listen, config.tls, config.tokens, insecure=config.insecure)
    if config.tls:
        Certificates(config.tls)
    if config.tokens:
        Admission(config.tokens)
