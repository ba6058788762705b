//! Rules that change while `authseal run` runs: looks at their folder, checks and tests what is new, and hands on what
//! is good. What is not stays out, and the old rules stay in force.

use super::rules;
use crate::{
    artifact::{self, File},
    config::{Config, show_duration},
    detect::{Problem, RuleSet, testing},
    digest::Digest,
    error::{Error, Result},
    ingest::{Changes, status::Status},
    telemetry,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

/// How long loading and testing rules may take.
const TESTS: Duration = Duration::from_secs(120);
/// How many problems are told: the first say enough.
const MOST_TOLD: usize = 20;
/// The part of readiness that stands for the rules.
const PART: &str = "rules";

/// How far back rules may look, so that a restart forgets nothing of what they know.
#[derive(Debug, Clone, Copy)]
pub struct Lookback {
    /// What a restart reads again.
    pub horizon: Duration,
    /// Whether there is a topic that keeps the state of rules that look back further.
    pub keeps: bool,
}

impl Lookback {
    /// As it is configured.
    pub fn of(config: &Config) -> Self {
        Self { horizon: config.rules.replay_horizon, keeps: config.rules.state_topic.is_some() }
    }

    /// Refuses live rules that a restart would make forget.
    fn check(self, rules: &RuleSet) -> Result<()> {
        let mut beyond = rules.beyond(self.horizon);
        let Some((id, needed, keepable)) = beyond.find(|(.., keepable)| !(self.keeps && *keepable)) else {
            return Ok(());
        };
        let what = if keepable {
            "set rules.state_topic (a compacted topic, docs/operations.md), raise rules.replay_horizon"
        } else {
            "its state cannot be kept in rules.state_topic, because it looks at findings: raise rules.replay_horizon"
        };
        let (set, needed) = (show_duration(self.horizon), show_duration(needed));
        Err(Error::config(format!(
            "rules.replay_horizon is {set}, but rule {id} looks back {needed}, and a restart would forget what it \
             knows: {what}, or set the rule's mode to \"shadow\"",
        )))
    }
}

/// Loads the rules of a folder.
pub fn load(dir: &Path, files: &[File], lookback: Lookback) -> Result<RuleSet> {
    let rules = RuleSet::load(files).map_err(|problems| wrong(dir, &problems))?;
    lookback.check(&rules)?;
    let review = rules.review(jiff::Timestamp::now().as_millisecond());
    for problem in review.warnings.iter().chain(&review.problems) {
        // what ends too late was refused by `rules check`: a calendar must not keep evidence from being sealed
        tracing::warn!("{}", rules::shown(dir, problem));
    }
    Ok(rules)
}

/// The same, and their tests must pass: what `authseal rules test` says.
fn accept(dir: &Path, files: &[File], lookback: Lookback) -> Result<RuleSet> {
    let rules = load(dir, files, lookback)?;
    let failures: Vec<Problem> = testing::run(files).into_iter().flat_map(|report| report.failures).collect();
    if failures.is_empty() { Ok(rules) } else { Err(wrong(dir, &failures)) }
}

/// Problems as compilers tell them, one a line.
fn wrong(dir: &Path, problems: &[Problem]) -> Error {
    let line = |problem: &Problem| rules::shown(dir, problem);
    let mut lines: Vec<String> = problems.iter().take(MOST_TOLD).map(line).collect();
    if problems.len() > MOST_TOLD {
        lines.push(format!("and {} more", problems.len() - MOST_TOLD));
    }
    Error::config(lines.join("\n"))
}

/// Listens to SIGHUP. Once this was called it no longer ends the process, whoever listens.
pub fn hangups() -> Result<Signal> {
    signal(SignalKind::hangup()).map_err(|e| Error::bug("listening to SIGHUP").caused_by(e))
}

/// What a folder of rules looks like: tests belong to it, for a change of them is a reason to run them.
fn fingerprint(files: &[File]) -> Digest {
    artifact::bundle(files.to_vec()).0
}

/// Looks after a folder of rules.
pub struct Watcher {
    dir: PathBuf,
    lookback: Lookback,
    status: Arc<Status>,
    send: watch::Sender<Arc<RuleSet>>,
    /// What was judged last, and why it was refused, if it was.
    judged: (Option<Digest>, Option<String>),
    /// What the last look saw.
    seen: Option<Digest>,
    /// The tests that run, perhaps longer than anybody waits.
    testing: Option<JoinHandle<Result<RuleSet>>>,
}

impl Watcher {
    /// A watcher of a folder whose `rules`, made of `files`, are in force; and where it hands on others.
    pub fn new(
        dir: PathBuf,
        lookback: Lookback,
        status: Arc<Status>,
        rules: Arc<RuleSet>,
        files: &[File],
    ) -> (Self, Changes) {
        let (send, changes) = watch::channel(rules);
        let judged = (Some(fingerprint(files)), None);
        status.ok(PART);
        (Self { dir, lookback, status, send, judged, seen: None, testing: None }, changes)
    }

    /// Looks now and then (never, if `every` is zero) and at each SIGHUP, until it is dropped.
    pub async fn watch(mut self, every: Duration) -> Result<()> {
        let mut hangup = hangups()?;
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(every), if !every.is_zero() => false,
            };
            self.look(asked).await;
        }
    }

    /// Looks once. A change that nobody announced must look the same twice: a copy may be half done.
    async fn look(&mut self, asked: bool) {
        let dir = self.dir.clone();
        let files = match tokio::task::spawn_blocking(move || rules::read(&dir)).await {
            Ok(Ok(files)) => files,
            Ok(Err(failure)) => return self.unread(&failure.message, asked),
            Err(panic) => return self.unread(&panic.to_string(), asked),
        };
        let found = fingerprint(&files);
        if !asked && self.judged.0 == Some(found) {
            self.seen = None;
            return self.say_again();
        }
        if !asked && self.seen.replace(found) != Some(found) {
            return;
        }
        if self.testing.as_ref().is_some_and(|running| !running.is_finished()) {
            return self.refuse(None, "the tests of the rules before these still run: they are looked at after them");
        }
        match self.test(files).await {
            Ok(rules) => {
                self.judged = (Some(found), None);
                let digest = rules.bundle().0;
                tracing::info!(digest = %digest.hex(), "rules are good and their tests pass");
                // part of readiness: whoever puts them into force says so. Nobody is there any more: we are at the end
                let _ = self.send.send(Arc::new(rules));
            }
            Err(why) => self.refuse(Some(found), &why),
        }
    }

    async fn test(&mut self, files: Vec<File>) -> Result<RuleSet, String> {
        let (dir, lookback) = (self.dir.clone(), self.lookback);
        let running = tokio::task::spawn_blocking(move || accept(&dir, &files, lookback));
        let running = self.testing.insert(running);
        match tokio::time::timeout(TESTS, running).await {
            Err(_) => Err(format!("their tests take longer than {}", show_duration(TESTS))),
            Ok(ended) => {
                self.testing = None;
                match ended {
                    Ok(result) => result.map_err(|error| error.to_string()),
                    Err(panic) => Err(format!("loading them panicked: {panic}")),
                }
            }
        }
    }

    fn refuse(&mut self, found: Option<Digest>, why: &str) {
        let text = format!("changed rules are refused, the old ones stay in force: {why}");
        metrics::counter!(telemetry::RULE_RELOADS, "result" => "refused").increment(1);
        self.status.fail(PART, text.clone());
        if found.is_some() {
            self.judged = (found, Some(text));
        }
    }

    fn unread(&mut self, why: &str, asked: bool) {
        self.seen = None;
        if asked {
            metrics::counter!(telemetry::RULE_RELOADS, "result" => "refused").increment(1);
        }
        self.status.fail(PART, format!("the rules in force stay so, but their folder cannot be read: {why}"));
    }

    /// Nothing new: what was said last holds again, whatever was in between. Good rules that are on their way into the
    /// store are spoken of by whoever stores them.
    fn say_again(&self) {
        let unread = |why: &String| why.starts_with("the rules in force stay so");
        match &self.judged.1 {
            Some(refused) => self.status.fail(PART, refused.clone()),
            None if self.status.parts().get(PART).is_some_and(|part| part.as_ref().is_some_and(unread)) => {
                self.status.ok(PART);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str =
        "rule(\"A\", #{ name: \"n\", severity: LOW, mode: \"live\", when: activity == LOGON, key: [user] });\n";
    const TESTS: &str =
        "test(\"fires\", || { let t = timeline(\"a\"); t.at(0, event(#{ activity: LOGON, user: \"u\" }));
        t.expect(#{ alerts: 1 }); });
        test(\"quiet\", || { let t = timeline(\"a\"); t.at(0, event(#{ activity: LOGOFF, user: \"u\" }));
        t.expect(#{ alerts: 0 }); });";

    struct Bench {
        dir: tempfile::TempDir,
        watcher: Watcher,
        changes: Changes,
        status: Arc<Status>,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("a.rhai"), RULE).unwrap();
            std::fs::write(dir.path().join("a.test.rhai"), TESTS).unwrap();
            let files = rules::read(dir.path()).unwrap();
            let hour = Lookback { horizon: Duration::from_secs(3600), keeps: false };
            let rules = Arc::new(load(dir.path(), &files, hour).unwrap());
            let status = Arc::new(Status::default());
            let (watcher, changes) = Watcher::new(dir.path().into(), hour, status.clone(), rules, &files);
            Self { dir, watcher, changes, status }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.dir.path().join(name), text).unwrap();
        }

        async fn look(&mut self, times: usize) {
            for _ in 0..times {
                self.watcher.look(false).await;
            }
        }

        /// Whether other rules were handed on since the last time.
        fn handed(&mut self) -> bool {
            let handed = self.changes.has_changed().unwrap();
            self.changes.mark_unchanged();
            handed
        }

        fn said(&self) -> Option<String> {
            self.status.parts().get(PART).cloned().flatten()
        }
    }

    #[tokio::test]
    async fn a_change_is_taken_when_it_was_seen_twice_and_its_tests_pass() {
        let mut bench = Bench::new();
        bench.look(3).await;
        assert!(!bench.handed());
        bench.write("a.rhai", &RULE.replace("LOW", "HIGH"));
        bench.look(1).await;
        assert!(!bench.handed(), "a copy may be half done");
        bench.look(1).await;
        assert!(bench.handed());
        assert_eq!(bench.changes.borrow().rules()[0].severity, crate::detect::Severity::High);
        bench.look(3).await;
        assert!(!bench.handed() && bench.said().is_none());
        // somebody who asks is answered at once
        bench.write("a.rhai", RULE);
        bench.watcher.look(true).await;
        assert!(bench.handed());
    }

    #[tokio::test]
    async fn bad_rules_are_refused_at_their_place_until_they_are_mended() {
        let mut bench = Bench::new();
        let longer =
            RULE.replace("key: [user]", "key: [user], window: \"3h\", agg: #{ n: count() }, at_least: #{ n: 1 }");
        for (name, text, why) in [
            ("a.rhai", RULE.replace("LOW", "LOUD"), "a.rhai:1:"),
            ("a.rhai", RULE.replace("LOGON", "LOGOFF"), "a.test.rhai:"),
            ("a.rhai", longer, "looks back 3h"),
            ("b.rhai", RULE.replace("\"A\"", "\"B\""), "live rule B has no test"),
        ] {
            bench.write(name, &text);
            bench.look(4).await;
            let said = bench.said().unwrap_or_default();
            assert!(!bench.handed() && said.contains("refused") && said.contains(why), "{why}: {said}");
            if name == "a.rhai" {
                bench.write(name, RULE);
            }
            let _ = std::fs::remove_file(bench.dir.path().join("b.rhai"));
            bench.look(2).await;
            assert!(bench.handed(), "those in force are handed on again, and whoever has them says that all is well");
            bench.status.ok(PART);
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_read_changes_nothing() {
        let mut bench = Bench::new();
        let away = bench.dir.path().with_extension("away");
        std::fs::rename(bench.dir.path(), &away).unwrap();
        bench.look(3).await;
        assert!(!bench.handed() && bench.said().is_some_and(|said| said.contains("cannot be read")));
        std::fs::rename(&away, bench.dir.path()).unwrap();
        bench.look(2).await;
        assert_eq!((bench.handed(), bench.said()), (false, None));
    }

    #[tokio::test]
    async fn a_hangup_asks_for_a_look() {
        let bench = Bench::new();
        bench.write("a.rhai", &RULE.replace("LOW", "HIGH"));
        let mut changes = bench.changes.clone();
        let watching = tokio::spawn(bench.watcher.watch(Duration::ZERO));
        // until the handler is there a signal would end this process
        tokio::time::sleep(Duration::from_millis(200)).await;
        let _own = hangups().unwrap();
        let pid = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        tokio::time::timeout(Duration::from_secs(60), changes.changed()).await.unwrap().unwrap();
        watching.abort();
    }
}
