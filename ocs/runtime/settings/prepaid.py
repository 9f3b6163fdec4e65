"""What do vouchers and PINs need? A key that is not in the database, and how guessing is slowed down."""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from ocs.ledger.days import DAY_MS
from ocs.runtime.settings.base import SecretFile, Section, secret_from
from ocs.services.keyed_hash import MIN_KEY, Keys
from ocs.services.lockout import Policy


class PrepaidSettings(Section):
    """Vouchers, PINs and the pauses after wrong ones; what becomes of money that expired.

    The key stands in a file that only the daemons can read, the same for all of them, and is kept apart from
    the database's backups: with one of the two alone nobody has a code or a PIN. Without it there are no
    vouchers and no PINs; if it is lost, those that were made with it are of no use any more.
    """

    key_file: SecretFile | None = None
    """File whose first line is the key, 32 random characters or more (openssl rand -hex 32)."""
    key: SecretStr | None = Field(default=None, validate_default=True)
    """The key itself; prefer key_file."""
    old_key_file: SecretFile | None = None
    """File whose first line is the key before: codes and PINs made with it still count."""
    old_key: SecretStr | None = Field(default=None, validate_default=True)
    """The key before itself; prefer old_key_file."""
    free_pins: int = Field(default=3, ge=1, le=20)
    """Wrong PINs, of one caller or at one account, that cost no pause."""
    free_vouchers: int = Field(default=5, ge=1, le=50)
    """The same of wrong voucher codes; a code whose check digit is wrong does not count."""
    first_pause_s: int = Field(default=60, ge=1, le=86_400)
    """The pause after the next wrong one; doubled each time."""
    forget_s: int = Field(default=86_400, ge=60, le=31_536_000)
    """One wrong try is forgotten after so long, and no pause is longer: what a patient guesser has."""

    credit_days: int | None = Field(default=None, ge=1, le=3_650)
    """For how many days a customer's top-up, or the money of a batch of vouchers, is good that does not say.
    Not set: it moves no date, and on an account whose money has expired it cannot be spent."""
    forfeit_after_days: int | None = Field(default=None, ge=0, le=3_650)
    """Money that expired so long ago goes to house:forfeited:CURRENCY; until then a top-up with a period
    brings it to life again. Not set: it stays on the account, and cannot be spent."""

    @field_validator("key", "old_key")
    @classmethod
    def _key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        value = secret_from(info, value)
        if value is not None and len(value.get_secret_value()) < MIN_KEY:
            raise ValueError(f"must have {MIN_KEY} characters or more")
        return value

    @property
    def credit_valid_ms(self) -> int | None:
        """`credit_days` in milliseconds."""
        return self.credit_days and self.credit_days * DAY_MS

    def keys(self) -> Keys:
        """The keys in force, the newest first."""
        return Keys([key.get_secret_value() for key in (self.key, self.old_key) if key is not None])

    def policy(self, free: int) -> Policy:
        """How wrong tries are slowed down."""
        return Policy(free, self.first_pause_s * 1000, self.forget_s * 1000)
