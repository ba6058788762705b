//! What is written for an expression is judged by the engine as the expression says: on random expressions and events.

use super::{
    emit::{self, About, Draft, Plan},
    expr::{Expr, Order, Target, Test},
    meta::Meta,
    pattern::Pattern,
};
use crate::{
    artifact::File,
    detect::{Detector, Input, Limits, RuleSet, Severity},
    event::{Activity, AuthEvent, Field, Micros, Outcome as Ended},
    position::ChainId,
    record::Outcome,
};
use proptest::prelude::*;
use std::{sync::Arc, time::Duration};

fn test() -> impl Strategy<Value = Test> {
    let target = prop_oneof![
        Just(Target::Field(Field::user)),
        Just(Target::Field(Field::app)),
        Just(Target::Attribute("x.y \"z\"".into())),
    ];
    prop_oneof![
        prop::sample::select(vec!["LOGON", "STEP_UP", "OTHER"]).prop_map(|s| Test::Symbol(Field::activity, s)),
        prop::sample::select(vec!["SUCCESS", "FAILURE"]).prop_map(|s| Test::Symbol(Field::outcome, s)),
        (target.clone(), "[aAé\\\\\"${}]{0,3}", any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(target, text, cased, before, after)| {
                Test::Text(target, Pattern::literal(&text).open(before, after), cased)
            }
        ),
        any::<bool>().prop_map(|value| Test::Bool(Field::is_vpn, value)),
        (0..5, -2_i32..3).prop_map(|(order, number)| {
            let orders = [Order::Equal, Order::Less, Order::LessOrEqual, Order::Greater, Order::GreaterOrEqual];
            Test::Number(Field::acr, orders[order as usize], number.into())
        }),
        target.clone().prop_map(Test::Exists),
        (target.clone(), target).prop_map(|(a, b)| Test::Same(a, b)),
        Just(Test::InList("nets-1".into(), vec!["192.0.2.0/25".parse().unwrap(), "2001:db8::/32".parse().unwrap()])),
        "[ab]".prop_map(|text| Test::Contains(Field::privileges, text)),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    test().prop_map(Expr::Test).prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..20).prop_map(Expr::all),
            prop::collection::vec(inner.clone(), 1..20).prop_map(Expr::any),
            prop::collection::vec(inner.clone(), 1..5).prop_map(Expr::union),
            inner.prop_map(Expr::negated),
        ]
    })
}

const ADDRESSES: [Option<&str>; 5] = [None, Some("192.0.2.5"), Some("192.0.2.200"), Some("2001:db8::9"), Some("x")];

prop_compose! {
    fn event()(
        activity in 0_usize..3,
        outcome in 0_usize..3,
        user in prop::option::of("[aAéÉ\\\\\"${}]{1,4}"),
        app in prop::option::of("[aA]{1,2}"),
        attribute in prop::option::of("[aA]{1,2}"),
        is_vpn in any::<Option<bool>>(),
        acr in prop::option::of(-2_i32..3),
        src_ip in prop::sample::select(ADDRESSES.to_vec()),
        privileges in prop::collection::vec("[ab]", 0..2),
    ) -> AuthEvent {
        let mut event = AuthEvent {
            source: "s".into(),
            activity: [Activity::Logon, Activity::StepUp, Activity::Other][activity],
            outcome: [Ended::Success, Ended::Failure, Ended::Unknown][outcome],
            user: user.map(Into::into),
            app: app.map(Into::into),
            is_vpn,
            acr,
            src_ip: src_ip.map(Into::into),
            privileges: privileges.into_iter().map(Into::into).collect(),
            ..AuthEvent::default()
        };
        if let Some(text) = attribute {
            event.attributes.insert("x.y \"z\"", text);
        }
        event
    }
}

/// Which of the events a rule with this `when` finds.
fn found(expr: &Expr, events: &[AuthEvent]) -> Result<Vec<usize>, String> {
    let meta = Meta {
        rule: "T-1".into(),
        title: "t".into(),
        description: "d".into(),
        severity: Severity::Low,
        attack: Vec::new(),
        falsepos: Vec::new(),
        head: Vec::new(),
    };
    let about = About { meta: &meta, stem: "t", origin: "t.yml:1", differs: &[] };
    let plan = Plan::Single { event: Box::default(), miss: None };
    let draft = Draft { when: expr.clone(), key: vec![Target::Field(Field::tenant)], gate: None, plan };
    let files: Vec<File> =
        emit::files(&about, &draft).into_iter().filter(|file| !file.path.ends_with(".test.rhai")).collect();
    let rules = RuleSet::load(&files).map_err(|problems| format!("{problems:?}"))?;
    let mut detector =
        Detector::new(Arc::new(rules), Limits { state_bytes: 1 << 20, lateness: Duration::from_secs(60) });
    let chain = Arc::new(ChainId { cluster: "c".into(), topic: "t".into(), partition: 0, incarnation: 0 });
    let mut found = Vec::new();
    for (offset, event) in events.iter().enumerate() {
        let time = 1_790_000_000_000 + offset as i64 * 1000;
        let event_id = format!("e{offset}").into();
        let event = AuthEvent { event_id, time: Micros(time * 1000), ..event.clone() };
        let outcome = Outcome::Event(Box::new(event));
        let mut out = Vec::new();
        let input = Input { chain: &chain, offset: offset as i64, timestamp: time, now: time, outcome: &outcome };
        detector.judge(&input, &mut out);
        found.extend((!out.is_empty()).then_some(offset));
    }
    Ok(found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_engine_judges_as_the_expression_says(expr in expr(), events in prop::collection::vec(event(), 1..20)) {
        let expected: Vec<usize> = (0..events.len()).filter(|i| expr.holds(&events[*i])).collect();
        match found(&expr, &events) {
            Ok(found) => prop_assert_eq!(found, expected, "{}", expr.written()),
            // the loader refuses parts that can never hold, or always do: and so the importer does
            Err(why) => {
                let idle = why.contains("can never hold") || why.contains("always holds");
                prop_assert!(idle, "{}: {}", expr.written(), why);
            }
        }
    }

    #[test]
    fn examples_are_selected_and_near_misses_are_not(expr in expr()) {
        if let Some(event) = super::example::find(&expr, &[Target::Field(Field::user)]) {
            prop_assert!(expr.holds(&event) && event.user.is_some());
            if let Some((other, _)) = super::example::miss(&expr, &event) {
                prop_assert!(!expr.holds(&other));
            }
        }
    }
}
