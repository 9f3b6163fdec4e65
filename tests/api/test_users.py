"""/v1/users: secrets go in and never come out."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.api.office import Office

HA1 = hashlib.md5(b"alice:lab.test:alicepw").hexdigest()


def add(office: Office, **more: Any) -> Any:
    body = {"username": "alice", "realm": "lab.test", "account": "acme", "password": "alicepw", **more}
    return office.client.simulate_post("/v1/users", json=body)


@pytest.fixture(autouse=True)
def _account(office: Office) -> None:
    office.open_account("acme")
    office.told.clear()


def test_a_user_is_added_shown_changed_and_removed(office: Office) -> None:
    added = add(office, chap=True)
    assert added.status_code == 201
    client, path = office.client, "/v1/users/alice@lab.test"
    assert client.simulate_get(path).json == added.json
    names = ("name", "account", "status", "chap", "sha256")
    assert [added.json[name] for name in names] == ["alice@lab.test", "acme", "active", True, True]
    changed = client.simulate_patch(path, json={"status": "blocked", "password": "x", "chap": False})
    assert (changed.json["status"], changed.json["chap"]) == ("blocked", False)
    office.open_account("other")
    assert client.simulate_patch(path, json={"account": "other"}).json["status"] == "blocked"
    assert client.simulate_delete(path).json["account"] == "other"
    assert client.simulate_get(path).status_code == 404
    assert office.told.count("terms") >= 4  # directories of this daemon and of others hear of each


def test_no_answer_holds_a_secret(office: Office) -> None:
    answers = [
        add(office, chap=True), add(office), add(office, account="none", username="bob"),
        add(office, username="bob", password="alicepw\n"), add(office, username="bob", ha1=HA1),
        add(office, username="bob", password=["alicepw"]),
        office.client.simulate_get("/v1/users"), office.client.simulate_get("/v1/users/alice@lab.test"),
        office.client.simulate_post("/v1/user-imports", json={
            "csv": f"username,account,password,ha1\nx,acme,alicepw,{HA1}\n"}),
        office.client.simulate_delete("/v1/users/alice@lab.test"),
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [201, 409, 404, 400, 400, 400, 200, 200, 400, 200]
    for answer in answers:
        assert "alicepw" not in answer.text
        assert HA1 not in answer.text


def test_users_are_listed_in_pages_and_by_account(office: Office) -> None:
    for name in ("carol", "bob", "alice"):
        add(office, username=name)
    seen, after = [], None
    while page := office.client.simulate_get(
        "/v1/users", params={"limit": 2, "account": "acme", **({"after": after} if after else {})}
    ).json["users"]:
        seen += [user["username"] for user in page]
        after = page[-1]["name"]
    assert seen == ["alice", "bob", "carol"]
    assert office.client.simulate_get("/v1/users?status=blocked").json["users"] == []
    assert office.client.simulate_get("/v1/users?status=gone").status_code == 400


@pytest.mark.parametrize("username", ["a/b", "a b", "ä", "a@b", "a%2Fb", "a?b=c"])
def test_any_name_that_may_be_is_found_by_its_path(office: Office, username: str) -> None:
    from urllib.parse import quote

    name = add(office, username=username).json["name"]
    assert office.client.simulate_get(f"/v1/users/{quote(name, safe='')}").json["username"] == username


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400), ({"status": "removed"}, 400), ({"username": "bob"}, 400), ({"password": ""}, 400),
        ({"chap": True}, 400), ({"account": "none"}, 404), ({"account": "house:tax:EUR"}, 404),
        ({"password": "x", "ha1": HA1}, 400),
    ],
)  # fmt: skip
def test_a_wrong_change_changes_nothing(office: Office, body: dict[str, Any], status: int) -> None:
    before = add(office).json
    path = "/v1/users/alice@lab.test"
    assert office.client.simulate_patch(path, json=body).status_code == status
    assert office.client.simulate_get(path).json == before


def test_a_file_is_taken_in_whole_or_not_at_all(office: Office) -> None:
    def take_in(csv: str, **more: Any) -> Any:
        return office.client.simulate_post("/v1/user-imports", json={"csv": csv, **more})

    good = "username,account,password\nalice,acme,x\nbob,acme,y\n"
    assert take_in(good, dry_run=True).json == {"users": 2, "dry_run": True}
    bad = take_in(good + "carol,none,z\n")
    assert (bad.status_code, bad.json["rows"]) == (
        400,
        [{"row": 4, "reason": "there is no account 'none'"}],
    )
    assert office.client.simulate_get("/v1/users").json["users"] == []
    assert take_in(good).status_code == 201
    assert office.told == ["terms"]
    assert len(office.client.simulate_get("/v1/users").json["users"]) == 2
