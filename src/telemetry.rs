//! Logs and metrics: how they are set up, and the name, meaning and labels of every metric. Lower layers count by name
//! through the `metrics` facade; a test holds that every name that is counted stands here, and the other way round.
//!
//! Labels are few and bounded: topics, partitions, rules, codes. Never a user, an address or anything from an event.

use crate::error::{Error, Result};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use std::{io::IsTerminal, time::Duration};
use tracing_subscriber::EnvFilter;

/// Histograms keep raw samples until this is called: without it memory grows for ever.
const UPKEEP: Duration = Duration::from_secs(5);
/// A gauge that nobody has set for so long is dropped: its partition is read elsewhere now.
const IDLE: Duration = Duration::from_secs(300);
/// Bounds of the buckets of all `…_seconds` histograms.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What kind of metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// A value of now. Set it again at least every minute: see [`recorder`].
    Gauge,
    /// A distribution, in the buckets of [`recorder`].
    Histogram,
}

macro_rules! metrics {
    ($($kind:ident $constant:ident = $name:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $constant: &str = $name;)*

        /// Every metric: its kind, name and meaning.
        pub const METRICS: &[(MetricKind, &str, &str)] = &[$((MetricKind::$kind, $name, $text),)*];
    };
}

metrics! {
    Counter RECORDS = "authseal_records_total",
        "Records decoded, by topic, partition and outcome (event, rejection, opaque).";
    Counter RECORD_BYTES = "authseal_record_bytes_total",
        "Bytes of keys, headers and values received, by topic and partition.";
    Counter EVENTS = "authseal_events_total",
        "Events, by topic, source, activity and outcome.";
    Counter EVENT_FIELDS = "authseal_event_fields_total",
        "Events in which a field says something, by topic, source and field.";
    Counter EVENT_QUALITY = "authseal_event_quality_total",
        "Fields that were there and are not what they should be, by topic, source, field and why.";
    Counter EVENT_SKEW = "authseal_event_skew_seconds_bucket",
        "Events by their time less their record's (below 0: late), by topic, source, clock (producer, broker) and le.";
    Counter REPEATS = "authseal_repeats_total",
        "Events that a rule selected and that had been counted before, by topic.";
    Counter SOURCE_HOLES = "authseal_source_holes_total",
        "Gaps in the numbers of sources that nothing filled, by topic.";
    Counter SOURCE_MISSING = "authseal_source_missing_total",
        "Numbers in these gaps, by topic.";
    Counter SOURCE_RESETS = "authseal_source_resets_total",
        "Times that a producer began to number anew, by topic.";
    Counter SOURCE_AFTER_ALL = "authseal_source_after_all_total",
        "Numbered events that came after they were told as missing, by topic.";
    Counter SOURCE_UNJUDGED = "authseal_source_unjudged_total",
        "Numbered events and gaps of which nothing can be said, by topic.";
    Gauge SOURCE_SEQUENCES = "authseal_source_sequences",
        "Numberings that are followed, by topic.";
    Counter SOURCE_UNKNOWN = "authseal_source_unknown_total",
        "Events of sources that the inventory does not know, by topic.";
    Gauge SOURCE_SILENT = "authseal_source_silent",
        "1 for a source of the inventory that is silent, by source and tenant.";
    Gauge SOURCE_HEARD_AGE = "authseal_source_heard_age_seconds",
        "Time since a source of the inventory was heard, or since it is listened to, by source and tenant.";
    Counter REJECTIONS = "authseal_rejections_total",
        "Records that are no event, by topic and code.";
    Counter UNMAPPED = "authseal_unmapped_total",
        "Values that the topic's mapping does not know, by topic and field.";
    Counter WITHHELD = "authseal_withheld_total",
        "Values that were not kept, by topic and code.";
    Counter GAP_OFFSETS = "authseal_gap_offsets_total",
        "Offsets sealed as gaps, by topic, partition and cause.";
    Counter DATABASE_RELOADS = "authseal_database_reloads_total",
        "Changed databases of addresses, by result (in_force, refused).";
    Gauge DATABASE_BUILT = "authseal_database_built_seconds",
        "When the database of addresses that is in force was built, seconds since 1970, by database.";
    Gauge LAG_OFFSETS = "authseal_lag_offsets",
        "Offsets between the sealed position and the last stable offset, by topic and partition.";
    Gauge LAG_SECONDS = "authseal_lag_seconds",
        "Age of the newest record read, zero when everything is sealed, by topic and partition.";
    Gauge SEAL_AGE = "authseal_seal_age_seconds",
        "Time since the newest segment of a chain was sealed, by topic and partition.";
    Gauge TIME_TO_LOSS = "authseal_time_to_loss_seconds",
        "How long until Kafka's retention overtakes the reader, by topic and partition.";
    Gauge HELD_BACK = "authseal_held_back_seconds",
        "How long an open transaction has held back the records behind it, by topic and partition.";
    Gauge SEALED_OFFSET = "authseal_sealed_offset",
        "The next offset to seal, by topic and partition.";
    Gauge DONE_OFFSET = "authseal_done_offset",
        "The lowest offset that is not sealed, published and judged, by topic and partition.";
    Counter SEGMENTS = "authseal_segments_total",
        "Segments that lie in the store, by topic, partition and kind (data, heartbeat, close).";
    Counter SEGMENT_BYTES = "authseal_segment_bytes_total",
        "Bytes of these segments, by topic and partition.";
    Counter RECEIPTS = "authseal_receipts_total",
        "How segments came to lie in the store: created, own_lost_response or adopted.";
    Histogram SEAL_SECONDS = "authseal_seal_seconds",
        "Time to check a segment again and sign it.";
    Histogram PUT_SECONDS = "authseal_put_seconds",
        "Time to put a segment into the store, retries included.";
    Counter PUT_RETRIES = "authseal_put_retries_total",
        "Puts that were tried again, by reason.";
    Gauge BUFFER_BYTES = "authseal_buffer_bytes",
        "Memory held by segments that are not sealed.";
    Gauge LANE_STATE = "authseal_lane_state",
        "1 for the state that a partition is in, 0 for the others, by topic, partition and state.";
    Counter REGISTRY_REQUESTS = "authseal_registry_requests_total",
        "Schemas asked of the registry or its cache, by result (found, unknown, unusable, withheld, away).";
    Gauge REGISTRY_SCHEMAS = "authseal_registry_schemas",
        "Schemas of the registry that are in force.";
    Gauge REGISTRY_REFUSED = "authseal_registry_refused_ids",
        "Schema ids whose records are rejected: unknown, unusable, not delivered.";
    Gauge REGISTRY_WAITING = "authseal_registry_waiting_partitions",
        "Partitions that wait for a schema.";
    Counter FINDINGS = "authseal_findings_total",
        "Findings raised, by rule, severity and mode (live, shadow; silenced: live, and published as suppressed).";
    Counter FINDING_UPDATES = "authseal_finding_updates_total",
        "Findings that were told again because they had grown, by rule and mode.";
    Counter SUPPRESSED = "authseal_suppressed_total",
        "Findings that nobody has to act on, by rule and kind (exception: not raised; silence: sent as suppressed).";
    Counter RULE_EVALUATED = "authseal_rule_evaluated_total",
        "Records that a rule's condition was asked about, by rule.";
    Counter RULE_MATCHED = "authseal_rule_matched_total",
        "Records that a rule's condition selected, by rule.";
    Counter RULE_KEYLESS = "authseal_rule_keyless_total",
        "Selected records that lack a field of the rule's key, by rule.";
    Counter RULE_GATED = "authseal_rule_gated_total",
        "Times that a rule's functions were asked, past its gate, by rule.";
    Counter RULE_SUPPRESSED = "authseal_rule_suppressed_total",
        "Gates open in a period that has its finding already, by rule.";
    Counter RULE_NANOSECONDS = "authseal_rule_nanoseconds_total",
        "Time spent in a rule, by rule.";
    Counter RULE_ERRORS = "authseal_rule_errors_total",
        "Scripts that failed, by rule.";
    Counter RULE_RELOADS = "authseal_rule_reloads_total",
        "Changes of the rules, by result (in_force, refused).";
    Gauge RULE_PARTIAL = "authseal_rule_partial",
        "1 for a rule that may count less than there is, because others read some partitions, by rule.";
    Gauge RULE_OFF = "authseal_rule_off",
        "1 for a rule that was switched off after too many errors, by rule.";
    Gauge RULE_KEYS = "authseal_rule_keys",
        "Keys that a rule holds, by rule.";
    Gauge RULE_BYTES = "authseal_rule_state_bytes",
        "Memory that a rule's keys hold, by rule.";
    Counter LATE = "authseal_late_total",
        "Events too late to be judged. They are sealed all the same.";
    Gauge DETECTOR_BYTES = "authseal_detector_state_bytes",
        "Memory held by the windows, markers and deferred judgements of the rules.";
    Counter EVICTED = "authseal_detector_evicted_total",
        "Keys that rules forgot so as to stay within their memory.";
    Counter PUBLISHED = "authseal_published_total",
        "Messages acknowledged, by stream (alerts, dead_letters, shadow).";
    Gauge PUBLISH_IN_FLIGHT = "authseal_publish_in_flight",
        "Messages that are not acknowledged yet, by stream.";
    Counter PUBLISH_FAILED = "authseal_publish_failed_total",
        "Messages that failed, by stream and kind (retry: sent again; permanent: degraded).";
    Counter STATE_SAVED = "authseal_state_saved_total",
        "Records of the state of rules that were acknowledged.";
    Counter STATE_FAILED = "authseal_state_failed_total",
        "Records of the state of rules that were not acknowledged, and are written again.";
    Gauge STATE_UNSAVED = "authseal_state_unsaved",
        "Keys whose state is not acknowledged yet. They hold the commit back.";
    Counter STATE_RESTORED = "authseal_state_restored_total",
        "Records of the state of rules that were restored.";
    Gauge STATE_RESTORE_SECONDS = "authseal_state_restore_seconds",
        "How long it took to restore the state of the last partition.";
    Gauge LOG_SIZE = "authseal_log_size",
        "Entries of the transparency log.";
    Gauge LOG_PENDING = "authseal_log_pending",
        "Manifests that are sealed here and wait to be logged.";
    Gauge LOG_CHECKPOINT_AGE = "authseal_log_checkpoint_age_seconds",
        "Time since the log had its newest checkpoint.";
    Counter LOG_CONFLICTS = "authseal_log_conflicts_total",
        "Batches for which another instance was first: entered again behind it.";
    Counter LOG_ERRORS = "authseal_log_errors_total",
        "Turns in which the log could not be extended.";
    Counter WITNESS_ANSWERS = "authseal_witness_answers_total",
        "Answers of witnesses, by witness and outcome (cosigned, behind, refused, invalid, failed).";
    Gauge WITNESS_SIZE = "authseal_witness_size",
        "Entries of the newest checkpoint that a witness has cosigned for this process, by witness.";
    Gauge LOG_WITNESSED_AGE = "authseal_log_witnessed_age_seconds",
        "Time since a checkpoint was cosigned by a quorum of witnesses, or since the start.";
    Counter STAMPS = "authseal_log_stamps_total",
        "Stamps of checkpoints that were asked for, by outcome (stored, refused, failed).";
    Gauge STAMP_AGE = "authseal_log_stamp_age_seconds",
        "Age of the newest stamp in the store, or time since the start where there is none.";
    Counter VERIFY_RUNS = "authseal_verify_runs_total",
        "Runs of verify --watch that could be made, by scope (complete, new) and exit code.";
    Counter VERIFY_ERRORS = "authseal_verify_errors_total",
        "Runs of verify --watch that could not be made: the store was away.";
    Gauge VERIFY_FAILURES = "authseal_verify_failures",
        "Failures that stand, by verdict: of the last complete run, or of the last one over what is new.";
    Gauge VERIFY_ENDED = "authseal_verify_ended_seconds",
        "When the last run ended, seconds since 1970, by scope (complete, new).";
    Counter VERIFY_SEGMENTS = "authseal_verify_segments_total",
        "Segments that verify --watch read and checked.";
    Counter VERIFY_BYTES = "authseal_verify_bytes_total",
        "Bytes that verify --watch read.";
    Histogram VERIFY_SECONDS = "authseal_verify_run_seconds",
        "How long runs of verify --watch take, by scope.";
    Gauge BUILD_INFO = "authseal_build_info",
        "1, with the version.";
    Gauge START_TIME = "process_start_time_seconds",
        "When the process began, seconds since 1970.";
    Gauge RESIDENT = "process_resident_memory_bytes",
        "Memory of the process.";
}

/// Targets that log whole requests and answers of the store at level trace. S3 repeats the session token in some of its
/// refusals, so that they are never let beyond debug.
const CAPPED: [&str; 5] =
    ["aws_smithy_runtime", "aws_smithy_runtime::client::orchestrator::http", "aws_sigv4", "aws_sdk_s3", "aws_config"];

/// Sets the process-wide logger up: to stderr, as text or one JSON object a line. Once a process.
pub fn logging(json: bool, filter: &str) -> Result<()> {
    // whatever is asked for: appended, they replace what was said of the same targets
    let capped = CAPPED.iter().fold(filter.to_owned(), |all, target| format!("{all},{target}=debug"));
    let filter =
        EnvFilter::try_new(&capped).map_err(|e| Error::config(format!("log filter {filter:?}")).caused_by(e))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    result.map_err(|e| Error::bug(format!("logging was set up twice: {e}")))
}

/// The filter in force: `-v` and `-vv` before the variable `AUTHSEAL_LOG`, this before the configuration.
pub fn filter(verbose: u8, variable: Option<&str>, configured: &str) -> String {
    match (verbose, variable) {
        (0, None) => configured.to_owned(),
        (0, Some(filter)) => filter.to_owned(),
        (1, _) => "info,authseal=debug".to_owned(),
        (_, _) => "debug,authseal=trace".to_owned(),
    }
}

/// Makes Prometheus the process-wide recorder. Whoever calls this must run [`upkeep`] as well.
pub fn recorder() -> Result<PrometheusHandle> {
    let recorder = build()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|e| Error::bug(format!("metrics were set up twice: {e}")))?;
    describe();
    Ok(handle)
}

fn build() -> Result<metrics_exporter_prometheus::PrometheusRecorder> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
    let builder = builder.map_err(|e| Error::bug(format!("metric buckets: {e}")))?;
    // only gauges may vanish: a counter that returns from zero would hide what it had counted
    Ok(builder.idle_timeout(MetricKindMask::GAUGE, Some(IDLE)).build_recorder())
}

fn describe() {
    for (kind, name, text) in METRICS {
        match kind {
            MetricKind::Counter => metrics::describe_counter!(*name, *text),
            MetricKind::Gauge => metrics::describe_gauge!(*name, *text),
            MetricKind::Histogram => metrics::describe_histogram!(*name, *text),
        }
    }
}

/// Runs until it is dropped: keeps the recorder's memory bounded and the metrics of the process itself fresh.
pub async fn upkeep(handle: PrometheusHandle) {
    let begun = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tick.tick().await;
        metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        metrics::gauge!(START_TIME).set(begun.as_secs_f64());
        if let Some(bytes) = resident_bytes() {
            metrics::gauge!(RESIDENT).set(bytes);
        }
        handle.run_upkeep();
    }
}

/// Resident memory, where the system tells it.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_render_as_prometheus_with_their_meaning() {
        let recorder = build().unwrap();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!(RECORDS, "topic" => "auth", "partition" => "3", "outcome" => "event").increment(7);
            metrics::histogram!(PUT_SECONDS).record(0.02);
        });
        let text = handle.render();
        assert!(text.contains("# TYPE authseal_records_total counter"), "{text}");
        assert!(text.contains(r#"authseal_records_total{topic="auth",partition="3",outcome="event"} 7"#), "{text}");
        assert!(text.contains(r#"authseal_put_seconds_bucket{le="0.025"} 1"#), "{text}");
        assert!(text.contains("# HELP authseal_put_seconds Time to put a segment"), "{text}");
    }

    #[test]
    fn names_follow_prometheus_and_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for (kind, name, text) in METRICS {
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("authseal_") || name.starts_with("process_"), "{name}");
            assert!(text.ends_with('.') && !text.contains('\n'), "{name}");
            // buckets that are counted by ourselves: a histogram would keep a sample of each event
            let counts = name.ends_with("_total") || name.ends_with("_bucket");
            assert_eq!(counts, *kind == MetricKind::Counter, "{name}");
            assert!(*kind != MetricKind::Histogram || name.ends_with("_seconds"), "{name}");
        }
    }

    #[test]
    fn the_command_line_wins_over_the_variable_and_that_over_the_file() {
        assert_eq!(filter(0, None, "warn"), "warn");
        assert_eq!(filter(0, Some("error"), "warn"), "error");
        assert_eq!(filter(1, Some("error"), "warn"), "info,authseal=debug");
        assert_eq!(filter(9, None, "warn"), "debug,authseal=trace");
        for level in 0..3 {
            EnvFilter::try_new(filter(level, None, "info")).unwrap();
        }
    }

    #[test]
    fn the_process_knows_its_memory() {
        assert!(resident_bytes().unwrap() > 1e6);
    }
}
