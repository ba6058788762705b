//! A timeline: events at their times, as they arrive, judged by one rule.

use super::{Shared, build::Built, context};
use crate::{
    artifact::File,
    detect::{
        Finding, Input, Limits,
        detector::Detector,
        feed::Found,
        kept::Kept,
        list::List,
        predicate::matches,
        rule::RuleInfo,
        ruleset::{Kind, RuleSet, kind},
        severity::Severity,
        subject::{Owned, OwnedWhat, Selector},
        suggest::hint,
    },
    event::{Micros, Text},
    position::ChainId,
    record::Outcome,
};
use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, Map, NativeCallContext};
use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// When timelines begin, in microseconds: 2026-01-05T00:00:00Z, where dedup periods of up to a day begin too.
pub(super) const START: i64 = 1_767_571_200_000_000;
/// How late events of tests may be.
const LATENESS: Duration = Duration::from_secs(600);

type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

/// What a test does with a rule.
struct Inner {
    /// The rule file, without its ending.
    rule: String,
    /// Rules whose findings it looks at.
    others: Vec<String>,
    lists: Vec<List>,
    /// (microseconds at which it is seen, microseconds at which it happened, the record)
    records: Vec<(i64, i64, Built)>,
}

/// A timeline, as scripts hold it.
#[derive(Clone)]
struct Timeline(Arc<Mutex<Inner>>);

impl Timeline {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers `timeline(rule)` and its methods.
pub(super) fn register(engine: &mut Engine, shared: &Shared) {
    engine.register_type_with_name::<Timeline>("timeline");
    let own = shared.clone();
    engine.register_fn("timeline", move |rule: ImmutableString| timeline(&own, &rule));
    engine.register_fn("at", |t: &mut Timeline, seconds: Dynamic, record: Built| {
        let time = micros(&seconds)?;
        t.lock().records.push((time, time, record));
        Ok::<(), Box<EvalAltResult>>(())
    });
    engine.register_fn("late", |t: &mut Timeline, seconds: Dynamic, seen: Dynamic, record: Built| {
        t.lock().records.push((micros(&seen)?, micros(&seconds)?, record));
        Ok::<(), Box<EvalAltResult>>(())
    });
    engine.register_fn("list", |t: &mut Timeline, name: ImmutableString, entries: Array| {
        let entries: Option<Vec<String>> =
            entries.into_iter().map(|entry| entry.into_immutable_string().ok().map(|text| text.to_string())).collect();
        let entries = entries.ok_or("a list is an array of strings")?;
        let list = List::of(&name, entries);
        let mut inner = t.lock();
        inner.lists.retain(|other| other.name != list.name);
        inner.lists.push(list);
        Ok::<(), Box<EvalAltResult>>(())
    });
    let own = shared.clone();
    engine.register_fn("also", move |t: &mut Timeline, rule: ImmutableString| {
        exists(&own, &rule)?;
        t.lock().others.push(rule.to_string());
        Ok::<(), Box<EvalAltResult>>(())
    });
    let own = shared.clone();
    engine.register_fn("expect", move |context: NativeCallContext, t: &mut Timeline, wanted: Map| {
        expect(&own, &context, t, wanted)
    });
}

fn micros(seconds: &Dynamic) -> Result<i64> {
    let seconds = seconds
        .as_float()
        .or_else(|_| seconds.as_int().map(|n| n as f64))
        .map_err(|_| "times are numbers of seconds")?;
    if !(-1e9..=1e9).contains(&seconds) {
        return Err("times are seconds since the start of the timeline, at most 1,000,000,000".into());
    }
    Ok(START + (seconds * 1e6) as i64)
}

/// The name of a rule file, without folder and ending.
fn stem(path: &str) -> &str {
    Path::new(path)
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_suffix(".rhai"))
        .unwrap_or(path)
}

fn timeline(shared: &Shared, rule: &str) -> Result<Timeline> {
    exists(shared, rule)?;
    let inner = Inner { rule: rule.into(), others: Vec::new(), lists: Vec::new(), records: Vec::new() };
    Ok(Timeline(Arc::new(Mutex::new(inner))))
}

/// There must be one rule file of this name.
fn exists(shared: &Shared, rule: &str) -> Result<()> {
    let rules = || shared.files.iter().filter(|file| kind(&file.path) == Kind::Rule).map(|file| stem(&file.path));
    match rules().filter(|known| *known == rule).count() {
        1 => Ok(()),
        0 => Err(format!("there is no rule file {rule}.rhai{}", hint(rule, rules())).into()),
        count => Err(format!("there are {count} rule files called {rule}.rhai: rename one").into()),
    }
}

/// What judging a timeline gave.
struct Judged {
    findings: Vec<Finding>,
    rule: RuleInfo,
    /// Why there are no more findings than there are.
    story: String,
}

fn judge(shared: &Shared, inner: &Inner) -> std::result::Result<Judged, String> {
    let files: Vec<File> = shared
        .files
        .iter()
        .filter(|file| {
            let named = |stem: &str| stem == inner.rule || inner.others.iter().any(|other| other == stem);
            kind(&file.path) == Kind::List || (kind(&file.path) == Kind::Rule && named(stem(&file.path)))
        })
        .cloned()
        .collect();
    let rules = RuleSet::load_with(&files, inner.lists.clone())
        .map_err(|problems| problems.first().map_or_else(String::new, ToString::to_string))?;
    let rules = Arc::new(rules);
    let rule = rules.rules().iter().find(|rule| stem(&rule.path) == inner.rule);
    let rule = rule.cloned().ok_or("the file has no rule")?;
    let longest = rules.longest_memory();
    let mut detector = Detector::new(rules, Limits { state_bytes: 256 << 20, lateness: LATENESS });
    let mut records: Vec<_> = inner.records.iter().enumerate().collect();
    records.sort_by_key(|(_, (seen, ..))| *seen);
    let mut findings = Vec::new();
    let mut end = START / 1000;
    let mut chains = vec![chain("test")];
    for (offset, (number, (seen, time, record))) in (1..).zip(records) {
        let now = seen.div_euclid(1000);
        end = end.max(now);
        if let Built::Finding(rule, severity, fields) = record {
            let found = raised(rule, *severity, fields, (&chains[0], offset, *time));
            detector.judge_finding(found, now, &mut findings);
            continue;
        }
        let (outcome, chain) = outcome(record, *time, number, &mut chains);
        detector.judge(&Input { chain: &chain, offset, timestamp: now, now, outcome: &outcome }, &mut findings);
    }
    // past everything that waits
    let end = end + i64::try_from(longest.as_millis()).unwrap_or(0) + 86_400_000;
    for chain in &chains {
        detector.idle(chain, end, &mut findings);
    }
    let totals = detector.totals();
    let stats = detector.rule_stats().into_iter().find(|stats| stats.id == rule.id).unwrap_or_default();
    findings.retain(|finding| finding.rule == rule.id);
    let mut story = format!(
        "of {} records `when` selected {}, and the functions were asked {} times",
        totals.records, stats.matched, stats.gated
    );
    for (count, what) in [
        (totals.late, "came too late to be judged"),
        (totals.repeats, "were repeats of an event"),
        (stats.keyless, "lacked a field of the key"),
        (stats.errors, "calls of functions failed"),
    ] {
        if count > 0 {
            story += &format!("; {count} {what}");
        }
    }
    if let Some(error) = stats.first_errors.first() {
        story += &format!(" ({error})");
    }
    // what a rule says of its own failures is no finding of it
    findings.retain(|finding| finding.rule == rule.id);
    Ok(Judged { findings, rule, story })
}

fn chain(topic: &str) -> Arc<ChainId> {
    Arc::new(ChainId { cluster: "test".into(), topic: topic.into(), partition: 0, incarnation: 0 })
}

/// A finding as other rules see it.
fn raised(
    rule: &Text,
    severity: Severity,
    fields: &[(Selector, Kept)],
    (chain, offset, time): (&Arc<ChainId>, i64, i64),
) -> Arc<Owned> {
    let found = Found {
        uid: format!("{rule}:{offset}").into(),
        rule: rule.clone(),
        number: u32::MAX,
        severity,
        fields: fields.into(),
        reach: [(chain.clone(), offset, offset)].into(),
    };
    Arc::new(Owned::new(OwnedWhat::Finding(Arc::new(found)), chain.clone(), offset, time))
}

/// A record as it is judged, and the chain it comes from.
fn outcome(record: &Built, time: i64, number: usize, chains: &mut Vec<Arc<ChainId>>) -> (Outcome, Arc<ChainId>) {
    let mut of_topic = |topic: &str| {
        if let Some(known) = chains.iter().find(|chain| chain.topic == topic) {
            return known.clone();
        }
        chains.push(chain(topic));
        chain(topic)
    };
    match record {
        Built::Event(event) => {
            let mut event = event.clone();
            event.time = Micros(time);
            if event.event_id.is_empty() {
                event.event_id = format!("event-{number}").into();
            }
            (Outcome::Event(event), of_topic("test"))
        }
        Built::Finding(..) => (Outcome::Opaque, of_topic("test")), // judged apart: no record of Kafka's
        Built::Rejection(rejection, topic) => {
            (Outcome::Rejection(rejection.clone()), of_topic(topic.as_deref().unwrap_or("test")))
        }
    }
}

const EXPECTED: [&str; 6] = ["alerts", "severity", "title", "key", "context", "updates"];

/// `t.expect(#{ alerts: n, severity: …, title: …, key: #{…}, context: #{…} })`: so many findings, each like this.
/// `updates: n`: and they were told again so often.
fn expect(shared: &Shared, context: &NativeCallContext, t: &Timeline, wanted: Map) -> Result<()> {
    let at = context.call_position();
    let fail = |message: String| shared.fail(at, message);
    if let Some(unknown) = wanted.keys().find(|key| !EXPECTED.contains(&key.as_str())) {
        return Err(format!("expect knows no `{unknown}`{}", hint(unknown, EXPECTED)).into());
    }
    let Some(alerts) = wanted.get("alerts").and_then(|value| value.as_int().ok()) else {
        return Err("expect needs the number of alerts: t.expect(#{ alerts: 1 })".into());
    };
    let judged = match judge(shared, &t.lock()) {
        Ok(judged) => judged,
        Err(why) => {
            fail(why);
            return Ok(());
        }
    };
    if let Some(report) = shared.reports().last_mut() {
        let ids = if alerts > 0 { &mut report.firing } else { &mut report.quiet };
        ids.push(judged.rule.id.clone());
    }
    let updates = judged.findings.iter().filter(|finding| finding.is_update()).count();
    if let Some(wanted) = wanted.get("updates")
        && wanted.as_int().ok() != i64::try_from(updates).ok()
    {
        fail(format!("expected {wanted} updates of {}, got {updates} ({})", judged.rule.id, judged.story));
    }
    let raised = || judged.findings.iter().filter(|finding| !finding.is_update());
    let found = raised().count();
    if i64::try_from(found).ok() != Some(alerts) {
        let titles: Vec<_> = raised().take(3).map(|finding| format!("{:?}", finding.title)).collect();
        let shown = if titles.is_empty() { String::new() } else { format!(": {}", titles.join(", ")) };
        fail(format!("expected {alerts} alerts of {}, got {found}{shown} ({})", judged.rule.id, judged.story));
    }
    for finding in raised() {
        compare(finding, &wanted, &fail)?;
    }
    Ok(())
}

fn compare(finding: &Finding, wanted: &Map, fail: &dyn Fn(String)) -> Result<()> {
    if let Some(severity) = wanted.get("severity") {
        let name = severity.clone().into_immutable_string().map_err(|_| "severity is a name, such as HIGH")?;
        let severity = Severity::from_name(&name).ok_or_else(|| format!("unknown severity {name}"))?;
        if finding.severity != severity {
            fail(format!("expected severity {}, got {}", severity.name(), finding.severity.name()));
        }
    }
    if let Some(title) = wanted.get("title") {
        let title = title.clone().into_immutable_string().map_err(|_| "title is a string")?;
        let fits = match title.contains('*') {
            true => matches(title.as_bytes(), finding.title.as_bytes()),
            false => finding.title.contains(title.as_str()),
        };
        if !fits {
            fail(format!("expected a title like {title:?}, got {:?}", finding.title));
        }
    }
    if let Some(wanted) = wanted.get("context") {
        context::compare(finding, wanted, fail)?;
    }
    if let Some(key) = wanted.get("key") {
        let key = key.clone().try_cast::<Map>().ok_or("key is a map of fields: #{ src_ip: \"…\" }")?;
        for (name, value) in key {
            let value = value.to_string();
            match finding.key.iter().find(|(field, _)| *field == name.as_str()) {
                Some((_, found)) if *found == value => {}
                Some((_, found)) => fail(format!("expected key {name} to be {value:?}, it is {found:?}")),
                None => {
                    let near = hint(&name, finding.key.iter().map(|(field, _)| field.as_str()));
                    fail(format!("the key of {} has no {name}{near}", finding.rule));
                }
            }
        }
    }
    Ok(())
}
