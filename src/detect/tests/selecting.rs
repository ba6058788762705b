//! What `when` selects: every test of a field, on events that hold it, that do not, and that do not have the field.

use super::*;

/// Ids of the events that a rule with this `when` selects.
fn selected(when: &str, events: &[AuthEvent]) -> Vec<String> {
    let text = format!(
        "rule(\"T-1\", #{{ name: \"t\", severity: LOW, key: [source], when: {when} }});
        fn title(e, w) {{ e.event_id }}"
    );
    let lists = "# owner: x\n# expires: never\n*.corp.example\nann\n";
    let rules = RuleSet::load(&[file("t.rhai", &text), file("lists/names.txt", lists)]);
    let mut bench = Bench::new(Arc::new(rules.unwrap_or_else(|problems| panic!("{problems:#?}"))), 1);
    for event in events {
        bench.event(0, event.clone());
    }
    bench.titles().into_iter().map(ToOwned::to_owned).collect()
}

/// Three events: one with much in it, one with other things, one with nothing.
fn events() -> Vec<AuthEvent> {
    let mut full = AuthEvent {
        session_start: Some(Micros((START + 3600 - 7200) * 1_000_000)),
        auth_time: Some(Micros((START + 3600) * 1_000_000)),
        actor: Some("ANN@mail.corp.example".into()),
        acr: Some(2),
        src_asn: Some(2),
        lat: Some(48.25),
        long: Some(11.5),
        is_vpn: Some(true),
        is_proxy: Some(true),
        privileges: vec!["admin".into(), "audit".into()],
        ..failed(3600, "full", "Ann@mail.corp.example", "192.0.2.1")
    };
    full.attributes.insert("amount", "1000.50");
    full.attributes.insert("limit", "999");
    let mut other = AuthEvent {
        session_start: Some(Micros((START + 5 * 86_400 + 9 * 3600) * 1_000_000)),
        actor: Some("bob".into()),
        acr: Some(1),
        src_asn: Some(64_500),
        is_vpn: Some(true),
        is_proxy: Some(false),
        privileges: vec!["audit".into()],
        ..failed(5 * 86_400 + 8 * 3600, "other", "ann", "192.0.2.1")
    };
    other.attributes.insert("amount", "a lot");
    let none = AuthEvent { user: None, src_ip: None, ..failed(6 * 86_400, "none", "", "") };
    vec![full, other, none]
}

#[test]
fn every_test_of_a_field_selects_what_it_says() {
    // it begins on a Monday; `other` is of a Saturday, `none` of a Sunday
    for (when, wanted) in [
        ("session_start < time", "full"),
        ("session_start >= time", "other"),
        ("session_start != time", "full other none"),
        ("time == auth_time", "full"),
        ("time < \"2026-01-06T00:00:00Z\"", "full"),
        ("time >= \"2026-01-10T09:00:00+01:00\"", "other none"),
        ("session_start.age() > 7199.5 & session_start.age() <= 7200", "full"),
        ("session_start.age() < 0", "other"),
        ("time.hour() < 6", "full none"),
        ("time.weekday().one_of([6, 7])", "other none"),
        ("5 > time.weekday()", "full"),
        ("attr(\"amount\").number() >= 1000", "full"),
        ("attr(\"amount\").number() == 1000.5", "full"),
        ("attr(\"amount\").number() != 1000.5", "other none"),
        ("attr(\"amount\").number() > attr(\"limit\").number()", "full"),
        ("attr(\"limit\").number().one_of([998.5, 999])", "full"),
        ("user.lower() == \"ann@mail.corp.example\"", "full"),
        ("user.lower() != \"ann\"", "full none"),
        ("user.lower() == actor.lower()", "full"),
        ("user == actor", ""),
        ("user.lower().one_of([\"ann\", \"bob\"])", "other"),
        ("user.lower().starts_with(\"ann@\")", "full"),
        ("user.starts_with(\"ann\")", "other"),
        ("user.ends_with(\".example\")", "full"),
        ("actor.lower().ends_with(\"mail.corp.example\")", "full"),
        ("actor.contains(\"NN@\")", "full"),
        ("actor.lower().contains(\"nn@\")", "full"),
        ("actor.lower().matches(\"ann@*.example\")", "full"),
        ("user.len() > 3", "full"),
        ("privileges.len() == 1", "other"),
        ("privileges.contains(\"admin\")", "full"),
        ("privileges.one_of([\"admin\", \"root\", \"audit\"])", "full other"),
        ("acr.one_of([2, 3])", "full"),
        ("acr == src_asn", "full"),
        ("acr < src_asn", "other"),
        ("lat > long", "full"),
        ("is_vpn == is_proxy", "full"),
        ("is_vpn != is_proxy", "other none"),
        ("is_vpn.one_of([true])", "full other"),
        ("user.in_list(\"names\")", "full other"),
        ("!user.in_list(\"names\")", "none"),
    ] {
        assert_eq!(selected(when, &events()).join(" "), wanted, "{when}");
    }
}
