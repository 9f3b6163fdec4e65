"""Does a daemon take expired money only where its settings say so?"""

from __future__ import annotations

from tests.scenarios.lab import Lab


def test_expired_money_is_taken_once_settings_have_a_grace_and_is_counted(lab: Lab) -> None:
    lab.account("alice", "1.00")
    lab.expires("alice", 1)
    lab.wait(2)
    system = lab.system
    assert system is not None
    system.forfeit()
    assert lab.balance("alice") == "1.00"
    for days, left in ((1, "1.00"), (0, "0.00")):
        prepaid = system.settings.prepaid.model_copy(update={"forfeit_after_days": days})
        system.apply(system.settings.model_copy(update={"prepaid": prepaid}))  # as SIGHUP does
        system.forfeit()
        assert lab.balance("alice") == left
    assert b'ocs_accounts_forfeited_total{currency="USD"} 1.0' in system.render_metrics()
