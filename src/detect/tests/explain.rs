//! Explanations: each way that a record can go through a rule is told apart.

use super::*;
use crate::detect::explain::{Answer, Asked, Explained, Explainer, Stand};

/// An explainer with one partition.
struct Asking {
    explainer: Explainer,
    chain: Arc<ChainId>,
    offset: i64,
}

impl Asking {
    fn new(keys: &str, functions: &str) -> Self {
        let limits = Limits { state_bytes: 1 << 20, lateness: Duration::from_secs(600) };
        Self { explainer: Explainer::new(load(&counting(keys, functions)), limits), chain: chain(0), offset: 0 }
    }

    fn judge(&mut self, outcome: &Outcome, seconds: i64) -> Explained {
        let (chain, now) = (self.chain.clone(), (START + seconds) * 1000);
        self.offset += 1;
        self.explainer.judge(&Input { chain: &chain, offset: self.offset, timestamp: now, now, outcome })
    }

    fn event(&mut self, event: AuthEvent) -> Stand {
        let seconds = event.time.0 / 1_000_000 - START;
        let explained = self.judge(&Outcome::Event(Box::new(event)), seconds.max(0));
        assert_eq!(explained.verdicts.len(), 1);
        explained.verdicts.into_iter().next().unwrap().stand
    }

    fn logon(&mut self, seconds: i64) -> Stand {
        self.event(failed(seconds, &format!("{seconds}"), "ann", "192.0.2.1"))
    }
}

const GATE: &str = "key: [src_ip], window: \"10m\", agg: #{ n: count() }, at_least: #{ n: 2 }, dedup: \"1h\"";

fn answers(stand: &Stand) -> Vec<&Answer> {
    match stand {
        Stand::Asked(asked) => asked.iter().map(|asked| &asked.answer).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_step_of_a_counting_rule_is_told() {
    let mut asking = Asking::new(GATE, "fn title(e, w) { `n = ${w.n}` }");
    let explained = asking.judge(&Outcome::Event(Box::new(failed(0, "a", "ann", "192.0.2.1"))), 0);
    let verdict = &explained.verdicts[0];
    assert_eq!(verdict.stand, Stand::Counted);
    assert_eq!(verdict.key, [("src_ip".to_owned(), "192.0.2.1".to_owned())]);
    assert_eq!(
        (verdict.gates[0].value.as_u64(), verdict.gates[0].at_least, verdict.gates[0].is_shut()),
        (Some(1), 2, true)
    );
    assert_eq!(asking.event(failed(1, "a", "ann", "192.0.2.1")), Stand::Repeat);
    let raised = asking.logon(2);
    assert!(matches!(answers(&raised)[..], [Answer::Raised { title, .. }] if title == "n = 2"), "{raised:?}");
    assert_eq!(asking.logon(3), Stand::Deduplicated((START + 3600) * 1_000_000));
    let mut success = failed(4, "s", "ann", "192.0.2.1");
    success.outcome = Ended::Success;
    match asking.event(success) {
        Stand::NotSelected(refusals) => assert_eq!(refusals[0].line(), "outcome == FAILURE: it is SUCCESS"),
        other => panic!("{other:?}"),
    }
    let mut nowhere = failed(5, "n", "ann", "192.0.2.1");
    nowhere.src_ip = None;
    assert_eq!(asking.event(nowhere), Stand::Keyless(vec!["src_ip".into()]));
    for second in 10_000..10_003 {
        asking.logon(second);
    }
    assert_eq!(asking.logon(6), Stand::Late);
    match asking.judge(&Outcome::Rejection(Rejection::new("empty", "")), 10_004).verdicts.remove(0).stand {
        Stand::NotSelected(refusals) => assert!(!refusals.is_empty()),
        other => panic!("{other:?}"),
    }
    assert_eq!(asking.judge(&Outcome::Opaque, 10_005), Explained::default());
}

#[test]
fn what_functions_answered_is_told() {
    let mut asking = Asking::new(GATE, "fn decide(e, w) { w.n >= 3 }");
    asking.logon(0);
    assert_eq!(answers(&asking.logon(1)), [&Answer::Refused]);
    assert!(matches!(answers(&asking.logon(2))[..], [Answer::Raised { silenced: None, .. }]));
    let mut asking = Asking::new("key: [user]", "fn decide(e, w) { e.user / 2 > 2 }");
    let failed = asking.logon(0);
    assert!(matches!(answers(&failed)[..], [Answer::Failed(error)] if error.contains("decide")), "{failed:?}");
    for second in 1..20 {
        asking.logon(second);
    }
    assert_eq!(asking.logon(30), Stand::Disabled);
    assert_eq!(Asking::new("key: [user], mode: \"off\"", "").logon(0), Stand::Off);
}

#[test]
fn what_waits_is_told_and_then_what_came_of_it() {
    let mut asking = Asking::new(&format!("{GATE}, settle: \"2m\""), "fn decide(e, w) { w.n <= 3 }");
    asking.logon(0);
    assert_eq!(asking.logon(1), Stand::Waits((START + 121) * 1_000_000));
    let mut besides: Vec<Asked> = Vec::new();
    for second in 400..404 {
        let mut other = failed(second, &format!("{second}"), "bob", "203.0.113.7");
        other.activity = Activity::Logoff;
        besides.extend(asking.judge(&Outcome::Event(Box::new(other)), second).besides);
    }
    assert_eq!(besides.len(), 1, "{besides:?}");
    assert_eq!((besides[0].gates[0].value.as_u64(), besides[0].position.as_str()), (Some(2), "main/auth/0/0@2"));
    asking.logon(1000);
    asking.logon(1001);
    let chain = asking.chain.clone();
    let rest = asking.explainer.finish(&[chain], (START + 90_000) * 1000);
    assert_eq!(rest.len(), 0, "the finding of this hour was raised: {rest:?}");
    assert_eq!(asking.explainer.findings().len(), 1);
}

#[test]
fn explaining_changes_nothing() {
    let rules = load(&counting(&format!("{GATE}, settle: \"1m\""), "fn decide(e, w) { w.n < 9 }"));
    let limits = Limits { state_bytes: 1 << 20, lateness: Duration::from_secs(600) };
    let mut explainer = Explainer::new(rules.clone(), limits.clone());
    let mut detector = Detector::new(rules, limits);
    let (chain, mut plain) = (chain(0), Vec::new());
    for n in 0..500_i64 {
        let event = failed(n * 17 % 3000, &n.to_string(), "ann", &format!("192.0.2.{}", n % 7));
        let outcome = Outcome::Event(Box::new(event));
        let now = (START + 4000) * 1000;
        let input = Input { chain: &chain, offset: n, timestamp: now, now, outcome: &outcome };
        detector.judge(&input, &mut plain);
        explainer.judge(&input);
    }
    let ids = |found: &[Finding]| found.iter().map(|finding| finding.uid.clone()).collect::<Vec<_>>();
    assert!(!plain.is_empty());
    assert_eq!(ids(&plain), ids(explainer.findings()));
}
