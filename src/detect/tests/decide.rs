//! What is decided without the script engine: never other than the function itself would decide.

use super::*;
use crate::event::{Factor, UserKind};
use proptest::prelude::*;

/// What happens: seconds since the event before, activity, outcome, user, address, agent, and the rest drawn from one
/// number.
type Deed = (i64, u8, u8, u8, u8, u8, u32);

fn event(number: usize, time: i64, (_, activity, outcome, user, ip, agent, rest): Deed) -> AuthEvent {
    let activities = [
        Activity::Logon,
        Activity::Logon,
        Activity::StepUp,
        Activity::TokenRefresh,
        Activity::PrivilegedAction,
        Activity::MfaChallenge,
        Activity::ResourceAccess,
        Activity::MfaEnroll,
    ];
    let bit = |n: u32| rest >> n & 1 == 1;
    let agents = [None, Some("Mozilla/5.0 Firefox/120"), Some("Mozilla/5.0 Firefox/121"), Some("curl/8"), Some("")];
    AuthEvent {
        activity: activities[usize::from(activity) % activities.len()],
        outcome: [Ended::Success, Ended::Failure, Ended::Success][usize::from(outcome) % 3],
        user_agent: agents[usize::from(agent) % agents.len()].map(Into::into),
        user_kind: if bit(0) { UserKind::Admin } else { UserKind::Person },
        session: bit(1).then(|| format!("s{user}").into()),
        root_session: Some(format!("s{user}").into()),
        device: (!bit(2)).then(|| if bit(3) { "d1" } else { "d2" }.into()),
        country: (!bit(4)).then(|| if bit(5) { "DE" } else { "US" }.into()),
        lat: (!bit(6)).then_some(if bit(7) { 52.5 } else { -33.9 }),
        long: (!bit(8)).then_some(if bit(9) { 13.4 } else { 151.2 }),
        factor: if bit(10) { Factor::Push } else { Factor::Password },
        acr: (!bit(11)).then_some(i32::from(bit(12)) + 1),
        token_family: bit(13).then(|| "f".into()),
        reason: bit(14).then(|| "token_reused".into()),
        device_token: Some(format!("t{}", rest >> 15 & 7).into()),
        ..failed(time, &format!("{number}"), &format!("u{user}"), &format!("192.0.2.{ip}"))
    }
}

/// What rules find in these events, and how often their functions failed.
fn judged(rules: RuleSet, deeds: &[Deed]) -> (Vec<(String, Vec<u8>)>, Vec<u64>) {
    let mut bench = Bench::new(Arc::new(rules), 2);
    let mut time = 0;
    for (number, deed) in deeds.iter().enumerate() {
        time += deed.0;
        bench.event(number % 2, event(number, time, *deed));
    }
    bench.idle();
    let errors = bench.detector.rule_stats().iter().map(|stats| stats.errors).collect();
    (bench.found.iter().map(|finding| (finding.uid.clone(), finding.ocsf.clone())).collect(), errors)
}

fn both(files: &[File], deeds: &[Deed]) -> Result<usize, TestCaseError> {
    let load = || RuleSet::load(files).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let found = judged(load(), deeds);
    prop_assert_eq!(&found, &judged(load().with_functions_only(), deeds));
    Ok(found.0.len() + found.1.iter().sum::<u64>() as usize)
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = (0i64..400, 0u8..8, 0u8..3, 0u8..3, 0u8..4, 0u8..5, any::<u32>());
    proptest::collection::vec(deed, 1..80)
}

/// Comparisons of everything with everything, in every place; some of them fail.
const PARTS: [&str; 26] = [
    "e.user == \"u1\"",
    "e.acr >= 2",
    "e.acr != ()",
    "e.lat > 0",
    "e.lat == 52.5",
    "e.acr == 1.0",
    "e.user < 5",
    "e.user_kind == ADMIN",
    "e.device != s.device",
    "s.missing",
    "!s.missing",
    "s.age < 60 * 2",
    "s.count > 1",
    "s.age + 1 > 9",
    "similarity(e.user_agent, s.user_agent) < 0.99",
    "far != () && far > 1000.0",
    "speed_kmh(s, e) > 900",
    "e.session == ()",
    "() == ()",
    "e.mark(\"m\").acr <= e.acr",
    "e.country == s.country",
    "e.user.len() > 1",
    "e.lat * 2 - 1 > s.lat",
    "e.acr * 9223372036854775807 > 0",
    "e.user",
    "w == ()",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn shipped_rules_find_the_same_whoever_decides(deeds in deeds()) {
        both(&crate::demo::rules(), &deeds)?;
    }

    #[test]
    fn any_function_decides_the_same_here_and_there(
        parts in proptest::collection::vec((0..PARTS.len(), any::<bool>(), any::<bool>()), 1..5),
        waits in any::<bool>(),
        deeds in deeds(),
    ) {
        let mut body = String::new();
        for (at, (part, or, not)) in parts.iter().enumerate() {
            let sign = if at == 0 { "" } else if *or { " || " } else { " && " };
            let part = PARTS[*part];
            body += &if *not { format!("{sign}!({part})") } else { format!("{sign}({part})") };
        }
        let wait = if waits { "wait: \"30s\"," } else { "" };
        let text = format!(
            "marker(\"m\", #{{ when: outcome == SUCCESS, key: [user], ttl: \"1h\" }});
             rule(\"D-1\", #{{ name: \"n\", severity: LOW, when: activity == LOGON, key: [user],
                 {wait} dedup: \"5m\" }});
             fn decide(e, w) {{ let s = e.mark(\"m\"); let far = distance_km(e, s); {body} }}"
        );
        // some are refused when they are loaded, for a reason
        if RuleSet::load(&[file("t.rhai", &text)]).is_ok() {
            both(&[file("t.rhai", &text)], &deeds)?;
        }
    }
}

#[test]
fn shipped_rules_need_no_engine_to_say_no() {
    let rules = RuleSet::load(&crate::demo::rules()).unwrap();
    let engine: Vec<&str> = rules
        .compiled()
        .iter()
        .filter(|rule| rule.has[0] && rule.decide.is_none())
        .map(|rule| rule.spec.id.as_str())
        .collect();
    assert_eq!(engine, ["AUTH-0021"], "what these say is worked out by the script engine each time");
}
