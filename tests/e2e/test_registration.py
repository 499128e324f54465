# AE registration: AE-IDs that the CSE assigns belong to the credential that asked for them.
# SPDX-License-Identifier: GPL-3.0-or-later
import copy

from lib import DEV1, DEV2, PAIR, WILD_C, WILD_C2, WILD_S, Sagate, ae, cnt, equal, free_port, openssl_psk, wait_for


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


def learned(s):
    return sorted((i["identity"], one["ae_id"], one["upstream"])
                  for i in s.ctl("identities", "list")["identities"] for one in i["learned"])


def test_equal_addresses_are_one_ae(t):
    s = Sagate(t)
    for made, deleted in (("/~/id-in", "/cse-in/same"), ("/cse-in", "/cse-in/%73am%65"), ("/cse-%69n", "/-/same"),
                          ("/-", "/~/id%2Din/cse-in/same"), ("/cse-in", "/%7E/id-in/cse-in/same")):
        with s.tls(WILD_C) as stream:
            answer = stream.request("POST", made, origin="C", rqi="reg", ty=2, body=ae("same"))
            equal(answer.rsc, 2001, made)
            aei = answer.json["m2m:ae"]["aei"]
            wait_for(lambda: learned(s) == [("wildc@sp.example", aei, "in")], f"{aei} is learned", 5)
            equal(stream.request("DELETE", deleted, origin=aei, rqi="del").rsc, 2002, deleted)
        wait_for(lambda: learned(s) == [], f"{made} made, {deleted} deleted", 5)
        equal(retrieve(s, WILD_C, aei), 4106, f"after DELETE {deleted}")


def test_child_of_the_same_name_is_no_ae(t):
    s = Sagate(t)
    with s.tls(WILD_C) as victim, s.tls(WILD_C2) as other:
        aei = victim.request("POST", "/~/id-in", origin="C", rqi="reg", ty=2, body=ae("lamp")).json["m2m:ae"]["aei"]
        mine = register(other, "C", "other").json["m2m:ae"]["aei"]
        made = other.request("POST", "/cse-in/other", origin=mine, rqi="box", ty=3, body=cnt("box"))
        box = made.json["m2m:cnt"]["ri"]
        equal(other.request("POST", "/cse-in/other/box", origin=mine, rqi="in", ty=3, body=cnt("lamp")).rsc, 2001)
        equal(other.request("DELETE", f"/{box}/lamp", origin=mine, rqi="del").rsc, 2002)
        # When this deletion has come through, so has the one before.
        equal(other.request("DELETE", "/cse-in/other", origin=mine, rqi="end").rsc, 2002)
        wait_for(lambda: ("wildc2@sp.example", mine, "in") not in learned(s), "the other AE is forgotten", 5)
        equal(learned(s), [("wildc@sp.example", aei, "in")])
        equal(retrieve(s, WILD_C, aei), 2000, "somebody else deleted a container of that name")


def test_assigned_identity_belongs_to_its_upstream(t):
    s = Sagate(t, cses=2, start=False)
    two = copy.deepcopy(s.settings["upstreams"][0])
    two.update(name="two", cse_id="/id-two", servers=[s.settings["upstreams"][0]["servers"].pop()])
    s.settings["upstreams"].append(two)
    port = free_port()
    s.settings["listeners"].append(dict(s.settings["listeners"][1], name="tls2", port=port, upstream="two"))
    s.write()
    s.start()
    first, second = openssl_psk(t, s.tls_port, WILD_C), openssl_psk(t, port, WILD_C)
    equal(register(first, "Cshared", "mine").rsc, 2001, "at the first CSE")
    equal(first.request("GET", "/cse-in", origin="Cshared", rqi="use1").rsc, 2000, "where it is registered")
    equal(second.request("GET", "/cse-in", origin="Cshared", rqi="use2").rsc, 4106, "at the other CSE")
    equal(s.cses[1].records(rqi="use2"), [], "nothing of it reaches the other CSE")
    # There it is free, and then somebody else's.
    owner, stranger = openssl_psk(t, port, WILD_C2), openssl_psk(t, s.tls_port, WILD_C2)
    equal(register(owner, "Cshared", "theirs").rsc, 2001, "another credential at the other CSE")
    equal(owner.request("GET", "/cse-in", origin="Cshared", rqi="use3").rsc, 2000)
    equal(stranger.request("GET", "/cse-in", origin="Cshared", rqi="use4").rsc, 4106)
    equal(register(stranger, "Cshared", "stolen").rsc, 4106, "owned at the first CSE")
    equal(register(second, "Cshared", "stolen").rsc, 4106, "owned at the other CSE")
    both = [("wildc2@sp.example", "Cshared", "two"), ("wildc@sp.example", "Cshared", "in")]
    wait_for(lambda: learned(s) == both, "both are learned", 5)
    s.restart()
    equal(learned(s), both, "after a restart")
    second = openssl_psk(t, port, WILD_C)
    equal(second.request("GET", "/cse-in", origin="Cshared", rqi="use5").rsc, 4106, "after a restart")
    # Deleted at one CSE it stays at the other.
    first = openssl_psk(t, s.tls_port, WILD_C)
    equal(first.request("DELETE", "/cse-in/mine", origin="Cshared", rqi="del").rsc, 2002)
    wait_for(lambda: learned(s) == both[:1], "the one is forgotten", 5)
    equal(first.request("GET", "/cse-in", origin="Cshared", rqi="use6").rsc, 4106, "after its deletion")
    owner = openssl_psk(t, port, WILD_C2)
    equal(owner.request("GET", "/cse-in", origin="Cshared", rqi="use7").rsc, 2000, "the other credential's")
    s.ctl("identities", "forget", WILD_C2.identity, "Cshared")
    equal(learned(s), [], "after identities forget")
