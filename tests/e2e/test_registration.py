# AE registration: AE-IDs that the CSE assigns belong to the credential that asked for them.
# SPDX-License-Identifier: GPL-3.0-or-later
from lib import DEV1, DEV2, PAIR, WILD_C, WILD_C2, WILD_S, Sagate, ae, cnt, equal


def register(stream, origin, name, rqi="reg"):
    return stream.request("POST", "/cse-in", origin=origin, rqi=rqi, ty=2, body=ae(name))


def retrieve(s, credential, origin):
    with s.tls(credential) as stream:
        return stream.request("GET", "/cse-in", origin=origin, rqi="use").rsc


def test_assigned_identity_belongs_to_the_credential(t):
    s = Sagate(t)
    with s.tls(WILD_C) as stream:
        made = {}
        for name, origin in (("absent", None), ("wish", "C")):
            answer = register(stream, origin, name)
            equal(answer.rsc, 2001, name)
            made[name] = answer.json["m2m:ae"]["aei"]
            equal(stream.request("GET", "/cse-in", origin=made[name], rqi="use").rsc, 2000, "on the same association")
    for aei in made.values():
        equal(retrieve(s, WILD_C, aei), 2000, "on a new association")
        equal(retrieve(s, WILD_C2, aei), 4106, "another wildcard credential")
        equal(retrieve(s, DEV1, aei), 4106, "another credential")
    with s.tls(WILD_C2) as stream:
        equal(register(stream, made["wish"], "stolen").rsc, 4106, "registration as an AE that another one owns")
    equal(retrieve(s, WILD_C, "Cnever"), 4106, "a pattern alone is no registration")
    equal(s.metric("registrations_learned_total"), 2)


def test_wishes_that_do_not_fit(t):
    s = Sagate(t, upstream={"registration_substitute": False})
    for credential, origin, rsc in ((WILD_C, "S", 4106), (WILD_S, "C", 4106), (WILD_S, "S", 2001), (DEV1, "C", 4106),
                                    (DEV1, None, 4106), (DEV1, "Cdev2", 4106), (PAIR, "Cone", 2001), (PAIR, "C", 4106)):
        with s.tls(credential) as stream:
            equal(register(stream, origin, f"n{len(s.cse.records())}{credential.identity[:4]}").rsc, rsc,
                  f"{credential.identity} as {origin}")
    equal({r["from"] for r in s.cse.records()}, {"S", "Cone"})


def test_substitution(t):
    s = Sagate(t, upstream={"registration_substitute": True})
    with s.tls(DEV1) as stream:
        answer = register(stream, "C", "subst")
        equal((answer.rsc, answer.json["m2m:ae"]["aei"]), (2001, "Cdev1"))
    with s.dtls(DEV2) as client:
        answer = client.request("post", "cse-in", origin=None, ty=2, body=ae("subst2"))
        equal((answer.rsc, answer.json["m2m:ae"]["aei"]), (2001, "Cdev2"))


def test_registration_over_coap(t):
    s = Sagate(t)
    with s.dtls(WILD_S) as client:
        answer = client.request("post", "cse-in", origin="S", ty=2, body=ae("s1"))
        equal(answer.rsc, 2001)
        aei = answer.json["m2m:ae"]["aei"]
        equal(client.request("post", f"cse-in/s1", origin=aei, ty=3, body=cnt("data")).rsc, 2001)
    with s.dtls(WILD_C) as client:
        equal(client.request("get", "cse-in", origin=aei).rsc, 4106)


def test_survives_a_restart_and_is_forgotten(t):
    s = Sagate(t)
    with s.tls(WILD_C) as stream:
        aei = register(stream, "C", "lasting").json["m2m:ae"]["aei"]
    s.restart()
    equal(retrieve(s, WILD_C, aei), 2000, "after a restart")
    equal(retrieve(s, WILD_C2, aei), 4106, "another's, after a restart")
    with s.tls(WILD_C) as stream:
        equal(stream.request("DELETE", "/cse-in/lasting", origin=aei, rqi="del").rsc, 2002)
    equal(retrieve(s, WILD_C, aei), 4106, "after its deletion")
    s.restart()
    equal(retrieve(s, WILD_C, aei), 4106, "after its deletion and a restart")


def test_forgotten_when_deleted_by_any_name(t):
    s = Sagate(t)
    for form in ("/cse-in/{name}", "/{aei}", "/~/id-in/{aei}", "/_/sp.example/id-in/cse-in/{name}", "/-/{name}"):
        with s.tls(WILD_C) as stream:
            name = f"ae{form.count('/')}{len(form)}"
            aei = register(stream, "C", name).json["m2m:ae"]["aei"]
            equal(stream.request("DELETE", form.format(name=name, aei=aei), origin=aei, rqi="del").rsc, 2002, form)
        equal(retrieve(s, WILD_C, aei), 4106, f"after DELETE {form}")
