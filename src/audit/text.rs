//! The report for people: short, in the order in which an auditor asks.

use super::report::{Behind, ChainReport, Finding, LogReport, Place, Report, Severity, Verdict};
use std::fmt::{self, Display, Formatter};

/// Chains listed in the text; `--json` has all.
const CHAINS: usize = 40;
/// Findings shown in full in the text; `--json` has more.
const FINDINGS: usize = 50;

impl Report {
    /// The report for people.
    pub fn text(&self) -> String {
        self.to_string()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        head(self, f)?;
        verdicts(self, f)?;
        findings(self, f)?;
        chains(self, f)?;
        writeln!(f, "\nWhat this does not cover")?;
        self.limits.iter().try_for_each(|limit| wrapped(f, "  - ", "    ", limit))?;
        writeln!(f, "\nexit code {}", self.exit_code)
    }
}

fn head(report: &Report, f: &mut Formatter<'_>) -> fmt::Result {
    let t = &report.totals;
    writeln!(f, "store    {}", report.store)?;
    writeln!(f, "origin   {}", report.origin.as_deref().unwrap_or("unknown: store.json does not say"))?;
    if let Some(log) = &report.log {
        let checkpoint = match (log.checkpoint, log.pinned) {
            (_, Some(pinned)) => format!(", goes on from your checkpoint of {}", grouped(pinned)),
            (Some(size), None) => format!(", checkpoint of {}", grouped(size)),
            (None, None) => String::new(),
        };
        let (entries, batches) = (grouped(log.entries), log.batches);
        let word = if batches == 1 { "batch" } else { "batches" };
        writeln!(f, "log      {entries} entries in {} {word}{checkpoint}", grouped(batches))?;
        if let Some(root) = &log.root {
            writeln!(f, "         root {root}")?;
        }
        anchors(log, report.now, f)?;
    }
    for (n, key) in report.keys.iter().enumerate() {
        writeln!(f, "{}{key}", if n == 0 { "keys     " } else { "         " })?;
    }
    writeln!(f, "checked  {} at {}", counted(t.segments, "segment"), time(report.now))?;
    writeln!(
        f,
        "         {} of them good, in {}, {} read",
        grouped(t.verified),
        counted(t.chains, "chain"),
        size(t.bytes)
    )?;
    let since = &report.since;
    let from = match (since.sealed, since.checkpoint) {
        (Some(at), _) => Some(format!("what was sealed since {}", time(at))),
        (None, Some(size)) => Some(format!("what your checkpoint of {} entries does not cover", grouped(size))),
        (None, None) if since.segments > 0 => Some("what is new".into()),
        (None, None) => None,
    };
    if let Some(from) = from {
        let passed = counted(since.segments, "segment");
        writeln!(f, "         ONLY {from}: {passed} before that not looked at")?;
    }
    writeln!(
        f,
        "sealed   {}: {} events, {} rejections, {} opaque",
        counted(t.records, "record"),
        grouped(t.events),
        grouped(t.rejections),
        grouped(t.opaque)
    )?;
    let g = &t.gaps;
    let gaps = [
        (g.lost, "lost"),
        (g.unexplained, "unexplained"),
        (g.skipped, "SKIPPED BY AN OPERATOR"),
        (g.not_delivered, "not delivered (transactions, compaction)"),
        (g.before_chain, "before the chain began"),
    ];
    for (offsets, cause) in gaps.into_iter().filter(|(offsets, _)| *offsets != 0) {
        writeln!(f, "         {} {cause}", counted(offsets, "offset"))?;
    }
    writeln!(f)
}

/// Who else has seen the log, and up to where.
fn anchors(log: &LogReport, now: i64, f: &mut Formatter<'_>) -> fmt::Result {
    let anchors = &log.anchors;
    writeln!(f, "grade    {}", anchors.grade)?;
    let up_to = |size: u64| match log.entries.saturating_sub(size) {
        0 => "all of it".to_owned(),
        after => format!("up to entry {}, {} later ones not yet", grouped(size), grouped(after)),
    };
    if let (Some(size), Some(at)) = (anchors.witnessed, anchors.witnessed_at) {
        writeln!(f, "         witnessed {}, {}", up_to(size), ago(now, at))?;
    }
    for (n, by) in anchors.cosigned_by.iter().enumerate() {
        let of_quorum = if anchors.witnessed.is_some() { "by" } else { "no quorum, only" };
        writeln!(f, "         {} {by}", if n == 0 { of_quorum } else { "and" })?;
    }
    match (anchors.stamped, anchors.stamped_at, &anchors.stamped_by) {
        (Some(size), Some(at), Some(by)) => {
            writeln!(f, "         stamped {}, {}, by {by}", up_to(size), ago(now, at))
        }
        _ if anchors.stamps > 0 => {
            writeln!(f, "         {}, by nobody who was given (--tsa-cert)", counted(anchors.stamps, "stamp"))
        }
        _ => Ok(()),
    }
}

fn verdicts(report: &Report, f: &mut Formatter<'_>) -> fmt::Result {
    let (v, n) = (&report.verdicts, &report.finding_counts);
    let failures = |failures: u64, good: &str| match failures {
        0 => good.to_owned(),
        n => counted(n, "failure"),
    };
    line(f, "integrity", v.integrity, &failures(n.integrity, "every signature, leaf and link fits"))?;
    line(f, "completeness", v.completeness, &failures(n.completeness, "every offset sealed so far is accounted for"))?;
    let fresh = &report.freshness;
    let mut said = match fresh.last_sealed {
        Some(sealed) => format!("last sealed {}", ago(report.now, sealed)),
        None => "nothing tells when it was last sealed".into(),
    };
    if let Some(next_by) = fresh.next_by {
        said += &format!(", next promised for {}", ago(report.now, next_by));
    }
    if fresh.stale_chains > 0 && !fresh.enforced {
        said += &format!("; {} late, which fails only if asked for", counted(fresh.stale_chains, "chain"));
    }
    line(f, "freshness", v.freshness, &said)?;
    if let Some(newest) = report.log.as_ref().and_then(|log| log.newest) {
        writeln!(f, "{:29}the log's checkpoint covers up to {}", "", ago(report.now, newest))?;
    }
    line(f, "protection", v.protection, &failures(n.protection, &protection(report)))
}

/// What is known of locks, in words.
fn protection(report: &Report) -> String {
    let p = &report.protection;
    let locked = p.compliance + p.governance;
    let mut said = match report.verdicts.protection {
        "good" => {
            let until = p.until.map(|until| format!(", the first until {}", ago(report.now, until)));
            let mode = match (p.compliance, p.governance) {
                (_, 0) => "COMPLIANCE".to_owned(),
                (0, _) => "GOVERNANCE".to_owned(),
                (c, g) => format!("{} COMPLIANCE, {} GOVERNANCE", grouped(c), grouped(g)),
            };
            format!("{} locked as promised: {mode}{}", counted(locked, "object"), until.unwrap_or_default())
        }
        "unlocked" if locked == 0 => "no lock was promised: whoever may write to the store can delete from it".into(),
        "unlocked" => format!("{} without a lock, none of which was promised one", counted(p.unlocked, "object")),
        _ if p.unknown > 0 => {
            format!("{} promised a lock that this store cannot tell: a copy?", counted(p.unknown, "object"))
        }
        _ => "nothing was promised a lock".into(),
    };
    if p.holds > 0 {
        said += &format!("; {} under legal hold", grouped(p.holds));
    }
    said
}

fn line(f: &mut Formatter<'_>, name: &str, verdict: &str, said: &str) -> fmt::Result {
    let shown = match verdict {
        "good" | "not_checked" | "unlocked" => verdict.replace('_', " "),
        bad => bad.to_uppercase(),
    };
    writeln!(f, "  {name:<13} {shown:<12} {said}")
}

fn findings(report: &Report, f: &mut Formatter<'_>) -> fmt::Result {
    let n = &report.finding_counts;
    let failures = n.integrity + n.completeness + n.protection + n.freshness;
    if failures + n.notices == 0 {
        return Ok(());
    }
    writeln!(f, "\nFound: {}, {}", counted(failures, "failure"), counted(n.notices, "notice"))?;
    report.findings.iter().take(FINDINGS).try_for_each(|finding| show(finding, f))?;
    let left = failures + n.notices - (report.findings.len().min(FINDINGS)) as u64;
    match left {
        0 => Ok(()),
        _ => writeln!(f, "\n  … and {} more; --json lists {}", grouped(left), grouped(n.listed)),
    }
}

fn show(finding: &Finding, f: &mut Formatter<'_>) -> fmt::Result {
    let word = match (finding.code.severity, finding.code.verdict) {
        (Severity::Notice, _) => "NOTICE",
        (_, Verdict::Integrity) => "TAMPERED",
        (_, Verdict::Completeness) => "INCOMPLETE",
        (_, Verdict::Protection) => "UNPROTECTED",
        (_, Verdict::Freshness) => "STALE",
    };
    let first = if finding.first_break { "  (this chain breaks here first)" } else { "" };
    writeln!(f, "\n  {word} {}  {}{first}", finding.name, place(&finding.place))?;
    if let Some(key) = &finding.place.key {
        writeln!(f, "    {key}")?;
    }
    wrapped(f, "    ", "    ", &finding.detail)?;
    wrapped(f, "    → ", "      ", finding.code.advice)
}

/// The place in words, without the key.
fn place(place: &Place) -> String {
    let mut out = match (&place.chain, place.position()) {
        (_, Some(position)) => format!("record {position}"),
        (Some(chain), None) => format!("chain {chain}"),
        (None, None) => String::new(),
    };
    match (place.sequence, place.sequences) {
        (_, Some(range)) => out += &format!(", segments {} to {}", range.from, range.to.map_or(0, |to| to - 1)),
        (Some(sequence), None) => out += &format!(", segment {sequence}"),
        (None, None) => {}
    }
    if let Some(range) = place.offsets.filter(|_| place.offset.is_none()) {
        match range.to {
            Some(to) if to > range.from => out += &format!(", offsets {} to {}", range.from, to - 1),
            Some(_) => {}
            None => out += &format!(", offsets from {}", range.from),
        }
    }
    out
}

fn chains(report: &Report, f: &mut Formatter<'_>) -> fmt::Result {
    if report.chains.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nChains")?;
    for chain in report.chains.iter().take(CHAINS) {
        writeln!(f, "  {}", of_chain(chain, report.now))?;
    }
    match report.chains.len().saturating_sub(CHAINS) {
        0 => Ok(()),
        left => writeln!(f, "  … and {left} more; --json has all"),
    }
}

fn of_chain(chain: &ChainReport, now: i64) -> String {
    let mut out =
        format!("{}: {} of {} good", chain.chain, grouped(chain.verified), counted(chain.segments, "segment"));
    if let Some(offsets) = chain.offsets {
        out += &format!(", sealed up to {}", offsets.to);
    }
    if let Some(Behind { known_to, offsets, .. }) = chain.behind {
        out += &format!(" of {known_to} that the broker had then");
        if offsets > 0 {
            out += &format!(" ({} behind)", grouped(offsets));
        }
    }
    if let Some(sealed) = chain.last_sealed {
        out += &format!(", last {}", ago(now, sealed));
    }
    match (chain.closed, chain.superseded, chain.stale) {
        (true, ..) => out += "; closed",
        (_, true, _) => out += "; superseded",
        (.., true) => out += "; LATE",
        _ => {}
    }
    out
}

/// A time and how far it is from `now`, both in milliseconds since 1970.
pub(super) fn ago(now: i64, then: i64) -> String {
    let apart = now.abs_diff(then) / 1000;
    let rough = match apart {
        0..120 => format!("{apart} s"),
        120..7200 => format!("{} min", apart / 60),
        7200..172_800 => format!("{} h", apart / 3600),
        _ => format!("{} days", apart / 86_400),
    };
    let when = if then <= now { format!("{rough} ago") } else { format!("in {rough}") };
    format!("{} ({when})", time(then))
}

pub(super) fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| format!("{millis} ms"), |t| format!("{t:.0}"))
}

/// `1 segment`, `12,345 segments`.
fn counted(n: impl Into<i128>, what: &str) -> String {
    let n = n.into();
    format!("{} {what}{}", grouped(n), if n == 1 { "" } else { "s" })
}

fn grouped(n: impl Into<i128>) -> String {
    let n = n.into();
    let digits = n.unsigned_abs().to_string();
    let mut out = String::from(if n < 0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// Breaks `text` at spaces, so that a line stays within 110 characters.
fn wrapped(f: &mut Formatter<'_>, first: &str, rest: &str, text: &str) -> fmt::Result {
    let mut line = String::from(first);
    let mut empty = true;
    for word in text.split(' ') {
        if !empty && line.chars().count() + word.chars().count() >= 110 {
            writeln!(f, "{line}")?;
            line = String::from(rest);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line += word;
        empty = false;
    }
    writeln!(f, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        assert_eq!(grouped(1_234_567_u64), "1,234,567");
        assert_eq!(grouped(-999_i64), "-999");
        assert_eq!(counted(1_u64, "chain"), "1 chain");
        assert_eq!(counted(0_u64, "chain"), "0 chains");
        assert_eq!(ago(1_000_000, 0), "1970-01-01T00:00:00Z (16 min ago)");
        assert_eq!(ago(0, 90_000_000), "1970-01-02T01:00:00Z (in 25 h)");
        assert!(ago(0, i64::MIN).contains("ago"));
    }
}
