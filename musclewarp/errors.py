"""Every error that musclewarp raises on purpose."""

from __future__ import annotations


class MusclewarpError(Exception):
    """What is wrong, where it is, and how to mend it."""


class FileError(MusclewarpError):
    """A file is missing, truncated, inconsistent or of the wrong kind."""


class ConfigError(MusclewarpError):
    """A configuration key or value is unknown, unused or out of range."""


class ModelError(MusclewarpError):
    """A musculoskeletal model lacks what it was asked for (a joint, a site, a muscle)."""


class SimulationError(MusclewarpError):
    """Worlds left the finite numbers, or the simulator's buffers overflowed, too often."""


class TrainingError(MusclewarpError):
    """Learning left the finite numbers."""


class SignalError(MusclewarpError):
    """A recorded signal is not finite, too short, too slowly sampled or of the wrong shape for what was asked."""


def require(config: object, key: str, fine: bool, rule: str) -> None:
    """Refuse a config unless its `key`, such as "ppo.gamma" (the last part is the attribute), is `fine`.

    Raises:
        ConfigError: "ppo.gamma is 2.0; it must lie in [0, 1]", where "it must lie in [0, 1]" is the `rule`.
    """
    if not fine:
        raise ConfigError(f"{key} is {getattr(config, key.rpartition('.')[2])}; {rule}")
