//! The merge, the clock of the past, and the same answer each time.

use super::*;
use crate::{artifact::File, detect::RuleSet};
use std::io::Cursor;

const RULE: &str = "rule(\"T-1\", #{ name: \"test\", severity: HIGH, when: activity == LOGON & outcome == FAILURE,\n\
    key: [src_ip], window: \"10m\", agg: #{ n: count(), users: distinct(user) }, at_least: #{ n: 4 }, settle: \"1m\",\n\
    dedup: \"1h\" });\nfn decide(e, w) { w.users <= 4 }\nfn title(e, w) { `${w.n} of ${e.src_ip}` }";

fn rules() -> Arc<RuleSet> {
    let file = File { path: "t.rhai".into(), bytes: RULE.into() };
    Arc::new(RuleSet::load(&[file]).unwrap_or_else(|problems| panic!("{problems:#?}")))
}

fn options() -> Options {
    let limits = Limits { state_bytes: 1 << 20, lateness: Duration::from_secs(600) };
    Options { limits, from: None, to: None, progress: Arc::default() }
}

/// A failed logon so many seconds after 2026-01-05.
fn line(seconds: i64, user: &str, ip: &str) -> String {
    let time = jiff::Timestamp::from_second(1_767_571_200 + seconds).unwrap();
    format!(
        "{{\"event_id\":\"{seconds}-{user}\",\"time\":\"{time}\",\"activity\":\"LOGON\",\"outcome\":\"FAILURE\",\
         \"user\":\"{user}\",\"src_ip\":\"{ip}\"}}\n"
    )
}

fn judged(files: &[String], options: &Options) -> Report {
    let files = files.iter().enumerate().map(|(n, text)| (format!("f{n}.ndjson"), Cursor::new(text.clone())));
    run(of_lines(files.collect(), &Reading::default(), &options.progress).unwrap(), &rules(), options).unwrap()
}

#[test]
fn files_are_merged_by_time_and_the_answer_does_not_depend_on_how_they_are_split() {
    let mut one = String::new();
    let mut split = vec![String::new(); 3];
    for n in 0..2000_i64 {
        // an hour is missing in the middle, so that what waits is judged by the clock of the records
        let text =
            line(n * 7 + if n > 1000 { 3600 } else { 0 }, &format!("u{}", n % 3), &format!("192.0.2.{}", n % 10));
        one += &text;
        split[(n % 3) as usize] += &text;
    }
    let whole = judged(std::slice::from_ref(&one), &options());
    let parts = judged(&split, &options());
    assert_eq!((whole.records, whole.late, whole.chains), (2000, 0, 1));
    assert_eq!((parts.records, parts.late, parts.chains), (2000, 0, 3));
    let (rule, other) = (&whole.rules[0], &parts.rules[0]);
    assert!(rule.findings > 30, "{whole}");
    assert_eq!((rule.findings, &rule.top_keys, &rule.by_day), (other.findings, &other.top_keys, &other.by_day));
    assert_eq!(whole, judged(&[one], &options()), "the same records give the same report");
    assert_eq!(parts, judged(&split, &options()));
    assert_eq!(rule.by_severity, [("HIGH", rule.findings)]);
    assert_eq!(rule.samples[0].time, "2026-01-05T00:03:30Z");
    assert!(whole.to_string().contains("such as  2026-01-05T00:03:30Z  HIGH  file/f0/0/0@"), "{whole}");
}

#[test]
fn a_range_is_judged_with_the_state_from_before() {
    let text: String = (0..8).map(|n| line(n * 60, "ann", "192.0.2.1")).collect();
    let at = |seconds: i64| Some((1_767_571_200 + seconds) * 1000);
    let all = judged(std::slice::from_ref(&text), &options());
    assert_eq!(all.rules[0].findings, 1);
    let later = Options { from: at(210), ..options() };
    let report = judged(std::slice::from_ref(&text), &later);
    assert_eq!((report.rules[0].findings, report.records), (1, 8), "{report}");
    let after = Options { from: at(300), ..options() };
    assert_eq!(judged(std::slice::from_ref(&text), &after).rules[0].findings, 0);
    let before = Options { to: at(150), ..options() };
    let report = judged(&[text], &before);
    assert_eq!((report.rules[0].findings, report.records), (0, 3));
}

#[test]
fn what_is_no_event_is_counted_and_what_is_no_text_is_an_error() {
    let text = format!("{}\n\nnot json\n{}", line(0, "ann", "192.0.2.1"), line(1, "bob", "192.0.2.1"));
    let report = judged(&[text], &options());
    assert_eq!((report.records, report.events, report.rejections), (3, 2, 1));
    assert!(report.to_string().contains("2 events, 1 rejection (not_json 1), 0 opaque"), "{report}");
    let long = format!("\"{}", "x".repeat(crate::decode::MAX_VALUE + 10));
    let feed =
        of_lines(vec![("dir/long.ndjson".into(), Cursor::new(long))], &Reading::default(), &Arc::default()).unwrap();
    let error = run(feed, &rules(), &options()).unwrap_err();
    assert!(error.to_string().contains("dir/long.ndjson:1: the line has more than 16 MiB"), "{error}");
}

#[test]
fn names_of_files_become_topics() {
    for (name, topic) in [("a/b c.ndjson", "b_c"), ("-", "-"), (".x", "events"), ("..", "events")] {
        assert_eq!(lines(Cursor::new(""), name, 0, &Reading::default()).unwrap().chain().topic, topic, "{name}");
    }
}
